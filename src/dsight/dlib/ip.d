/*
 * ip, and what udp and icmp have of it: arguments made of a packet's IP header.
 */

typedef uint32_t netstackid_t;

typedef struct ifinfo {
	string if_name;
	int8_t if_local;		/* loopback */
	netstackid_t if_ipstack;	/* network namespace (its inode) */
	uintptr_t if_addr;		/* struct net_device */
} ifinfo_t;

typedef struct ipv4info {
	uint8_t ipv4_ver;
	uint8_t ipv4_ihl;		/* bytes */
	uint8_t ipv4_tos;
	uint16_t ipv4_length;		/* bytes, the header's too */
	uint16_t ipv4_ident;
	uint8_t ipv4_flags;		/* IPH_DF, IPH_MF */
	uint16_t ipv4_offset;		/* bytes */
	uint8_t ipv4_ttl;
	uint8_t ipv4_protocol;
	string ipv4_protostr;
	uint16_t ipv4_checksum;
	ipaddr_t ipv4_src;
	ipaddr_t ipv4_dst;
	string ipv4_saddr;
	string ipv4_daddr;
	uintptr_t ipv4_hdr;
} ipv4info_t;

typedef struct ipv6info {
	uint8_t ipv6_ver;
	uint8_t ipv6_tclass;
	uint32_t ipv6_flow;
	uint16_t ipv6_plen;		/* bytes behind the header */
	uint8_t ipv6_nexthdr;
	string ipv6_nextstr;
	uint8_t ipv6_hlim;
	in6_addr_t *ipv6_src;
	in6_addr_t *ipv6_dst;
	string ipv6_saddr;
	string ipv6_daddr;
	uintptr_t ipv6_hdr;
} ipv6info_t;

/* The header's flags as they stand in its seventh byte (RFC 791). */
inline uint8_t IPH_DF = 0x40;
inline uint8_t IPH_MF = 0x20;

/* Views: of the packet; of its IP header, arg0 being the packet; of the socket that sent it or gets it. */
struct ip_packet { struct sk_buff skb; };
struct ip_header { unsigned char octets[60]; };
struct ip4_header { unsigned char octets[60]; };
struct ip6_header { unsigned char octets[40]; };
struct ip_sock { struct sock sk; };

/* A socket that is whole: neither a connection request (TCP_NEW_SYN_RECV 12) nor in TIME_WAIT (6). */
inline int ip_whole[uint8_t state] = state != 12 && state != 6;
inline int ip_sock_whole[struct sock *sk] = sk != NULL && ip_whole[sk->__sk_common.skc_state];

inline string ip_protocol_name[uint8_t protocol] =
	protocol == 6 ? "TCP" : protocol == 17 ? "UDP" : protocol == 1 ? "ICMP" : protocol == 58 ? "ICMPV6" :
	protocol == 2 ? "IGMP" : protocol == 0 ? "HOPOPTS" : protocol == 4 ? "IPIP" : protocol == 41 ? "IPV6" :
	protocol == 43 ? "ROUTING" : protocol == 44 ? "FRAGMENT" : protocol == 47 ? "GRE" : protocol == 50 ? "ESP" :
	protocol == 51 ? "AH" : protocol == 59 ? "NONE" : protocol == 60 ? "DSTOPTS" : protocol == 89 ? "OSPF" :
	protocol == 103 ? "PIM" : protocol == 112 ? "VRRP" : protocol == 132 ? "SCTP" : protocol == 136 ? "UDPLITE" :
	"<unknown>";

translator pktinfo_t < struct ip_packet *S > {
	pkt_addr = (uintptr_t)S;
};

translator csinfo_t < struct ip_sock *S > {
	cs_addr = (uintptr_t)S;
	cs_cid = ip_sock_whole[&S->sk] ? S->sk.__sk_common.skc_cookie.counter : 0;
	cs_pid = !ip_sock_whole[&S->sk] ? -1 : S->sk.sk_protocol == 6 ? net_pid[&S->sk] : sock_sender[&S->sk];
	cs_zoneid = net_dev_zone[((struct sk_buff *)arg0)->dev];
};

translator ipinfo_t < struct ip_header *H > {
	ip_ver = H->octets[0] >> 4;
	ip_plength = net_ip_plength[(unsigned char *)H, pkt_length[(struct sk_buff *)arg0, (unsigned char *)H]];
	ip_saddr = net_ip_saddr[(unsigned char *)H];
	ip_daddr = net_ip_daddr[(unsigned char *)H];
};

translator ifinfo_t < struct ip_packet *S > {
	if_name = stringof(S->skb.dev->name);
	if_local = (S->skb.dev->flags & 8) != 0;
	if_ipstack = net_dev_zone[S->skb.dev];
	if_addr = (uintptr_t)S->skb.dev;
};

translator ipv4info_t < struct ip4_header *H > {
	ipv4_ver = H->octets[0] >> 4;
	ipv4_ihl = (H->octets[0] & 15) << 2;
	ipv4_tos = H->octets[1];
	ipv4_length = net_be16[(unsigned char *)H + 2];
	ipv4_ident = net_be16[(unsigned char *)H + 4];
	ipv4_flags = H->octets[6] & 0xe0;
	ipv4_offset = (net_be16[(unsigned char *)H + 6] & 0x1fff) << 3;
	ipv4_ttl = H->octets[8];
	ipv4_protocol = H->octets[9];
	ipv4_protostr = ip_protocol_name[H->octets[9]];
	ipv4_checksum = net_be16[(unsigned char *)H + 10];
	ipv4_src = *(ipaddr_t *)((unsigned char *)H + 12);
	ipv4_dst = *(ipaddr_t *)((unsigned char *)H + 16);
	ipv4_saddr = inet_ntoa((ipaddr_t *)((unsigned char *)H + 12));
	ipv4_daddr = inet_ntoa((ipaddr_t *)((unsigned char *)H + 16));
	ipv4_hdr = (uintptr_t)H;
};

translator ipv6info_t < struct ip6_header *H > {
	ipv6_ver = H->octets[0] >> 4;
	ipv6_tclass = (H->octets[0] & 15) << 4 | H->octets[1] >> 4;
	ipv6_flow = net_be32[(unsigned char *)H] & 0xfffff;
	ipv6_plen = net_be16[(unsigned char *)H + 4];
	ipv6_nexthdr = H->octets[6];
	ipv6_nextstr = ip_protocol_name[H->octets[6]];
	ipv6_hlim = H->octets[7];
	ipv6_src = (in6_addr_t *)((unsigned char *)H + 8);
	ipv6_dst = (in6_addr_t *)((unsigned char *)H + 24);
	ipv6_saddr = inet_ntoa6((in6_addr_t *)((unsigned char *)H + 8));
	ipv6_daddr = inet_ntoa6((in6_addr_t *)((unsigned char *)H + 24));
	ipv6_hdr = (uintptr_t)H;
};
