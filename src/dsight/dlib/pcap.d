/*
 * pcap(): link types as files of packets have them (LINKTYPE_*, https://www.tcpdump.org/linktypes.html),
 * and where a packet of the kernel (include/linux/skbuff.h) begins for each.
 */

inline int PCAP_ETHER = 1;
inline int PCAP_ETHERNET = 1;
inline int PCAP_PPP = 9;
inline int PCAP_IP = 101;	/* LINKTYPE_RAW: IPv4 or IPv6, as its first four bits say */
inline int PCAP_WIFI = 105;
inline int PCAP_IPNET = 226;
inline int PCAP_IPOIB = 242;

/* Offset behind head: of the link's header, or of the network's; of the data where that is not set. */
inline uint32_t pcap_offset[void *packet, int link] =
	link == PCAP_IP || link == PCAP_IPNET ?
	    (((struct sk_buff *)packet)->network_header != 0 ? ((struct sk_buff *)packet)->network_header :
		(uint32_t)(((struct sk_buff *)packet)->data - ((struct sk_buff *)packet)->head)) :
	    (((struct sk_buff *)packet)->mac_header != 0xffff ? ((struct sk_buff *)packet)->mac_header :
		(uint32_t)(((struct sk_buff *)packet)->data - ((struct sk_buff *)packet)->head));

inline uintptr_t pcap_start[void *packet, int link] =
	(uintptr_t)((struct sk_buff *)packet)->head + pcap_offset[packet, link];

/* Bytes that lie together, and all of them: what lies in pages or in further buffers is not collected. */
inline uint32_t pcap_linear[void *packet, int link] =
	(uint32_t)((struct sk_buff *)packet)->tail - pcap_offset[packet, link];
inline uint32_t pcap_length[void *packet, int link] =
	pcap_linear[packet, link] + ((struct sk_buff *)packet)->data_len;
