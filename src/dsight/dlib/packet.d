/*
 * Which packets IP sends and receives, and which are for this host: what ip, udp, icmp and mib share.  Packets are
 * seen at net_dev_queue and netif_receive_skb, where one may pass several devices, one on top of another.
 * Each read of the kernel's memory costs, so what is used twice is a parameter.
 */

/* A device whose packets are another's: port of a bridge, of Open vSwitch, of a team (include/linux/netdevice.h). */
inline int pkt_port[uint32_t flags] = (flags & (IFF_BRIDGE_PORT | IFF_OVS_DATAPATH | IFF_TEAM_PORT)) != 0;
inline int pkt_kind[uint16_t protocol] = protocol == htons(0x800) || protocol == htons(0x86dd);	/* IPv4, IPv6 */

/* netif_receive_skb: data is behind the link's header; an 802.1Q tag (0x8100) may stand before IP's header. */
inline unsigned char *pkt_rx_ip[struct sk_buff *skb] =
	(unsigned char *)(skb->data + (skb->protocol == htons(0x8100) ? 4 : 0));
/* What IP gets: to this host's link address or to many (not PACKET_OTHERHOST, 3, but for a macvlan's).  A bond's
   slave counts, for the packet is seen there only; a bridge's port does not, the bridge receives it again. */
inline int pkt_to[int type, uint32_t flags] = (type != 3 || (flags & IFF_MACVLAN_PORT) != 0) && !pkt_port[flags];
inline int pkt_gets[struct sk_buff *skb, uint16_t protocol] =
	(pkt_kind[protocol] || (protocol == htons(0x8100) && pkt_kind[*(uint16_t *)(skb->data + 2)])) &&
	pkt_to[skb->pkt_type, skb->dev->priv_flags];
inline int pkt_received[struct sk_buff *skb] = pkt_gets[skb, skb->protocol];

/* net_dev_queue: what IP hands to a device.  Not: a packet that a device passes on to the one below it
   (a VLAN's has its tag, a bond's (IFF_SLAVE, 0x800) and a bridge's go to a slave, others' have another link address
   or come from another namespace), nor one that a packet socket (AF_PACKET 17, AF_XDP 44) made. */
inline int pkt_of_family[uint16_t family] = family != 17 && family != 44;
inline int pkt_of_sock[struct sock *sk, struct net_device *dev] = sk == NULL ||
	(pkt_of_family[sk->__sk_common.skc_family] && sk->__sk_common.skc_net.net == dev->nd_net.net);
inline uint64_t pkt_link[unsigned char *p] = *(uint64_t *)p << 16;
inline int pkt_of_dev[struct sk_buff *skb, struct net_device *dev] = dev->type != 1 ||	/* ARPHRD_ETHER */
	pkt_link[(unsigned char *)(skb->head + skb->mac_header + 6)] == pkt_link[(unsigned char *)dev->dev_addr];
inline int pkt_by[struct sk_buff *skb, struct net_device *dev] = (dev->flags & 0x800) == 0 &&
	!pkt_port[dev->priv_flags] && pkt_of_sock[skb->sk, dev] && pkt_of_dev[skb, dev];
inline int pkt_sent[struct sk_buff *skb] = pkt_kind[skb->protocol] && skb->vlan_proto == 0 && pkt_by[skb, skb->dev];

/* Octets of the packet from IP's header on. */
inline uint32_t pkt_length[struct sk_buff *skb, unsigned char *ip] =
	skb->len - (uint32_t)((uintptr_t)ip - (uintptr_t)skb->data);

/* The transport's header in a packet, NULL for a later fragment; and its protocol.  Of IPv6's extension
   headers the first two are passed: hop-by-hop 0, routing 43, destination 60, fragment 44 (RFC 8200). */
inline int pkt_extends[uint8_t kind] = kind == 0 || kind == 43 || kind == 60 || kind == 44;
inline unsigned char *pkt_after[unsigned char *at, uint8_t kind] = kind == 44 ? at + 8 : at + 8 + at[1] * 8;
inline int pkt_later[unsigned char *at, uint8_t kind] = kind == 44 && (net_be16[at + 2] & 0xfff8) != 0;
inline uint8_t pkt_protocol_2[unsigned char *at, uint8_t kind] = pkt_extends[kind] ? at[0] : kind;
inline uint8_t pkt_protocol_1[unsigned char *at, uint8_t kind] =
	pkt_extends[kind] ? pkt_protocol_2[pkt_after[at, kind], at[0]] : kind;
inline unsigned char *pkt_transport_2[unsigned char *at, uint8_t kind] =
	!pkt_extends[kind] ? at : pkt_later[at, kind] ? NULL : pkt_after[at, kind];
inline unsigned char *pkt_transport_1[unsigned char *at, uint8_t kind] =
	!pkt_extends[kind] ? at : pkt_later[at, kind] ? NULL : pkt_transport_2[pkt_after[at, kind], at[0]];
inline uint8_t pkt_protocol[unsigned char *ip] = net_ip_is_v6[ip] ? pkt_protocol_1[ip + 40, ip[6]] : ip[9];
/* `first`: the first four octets of the header, then identification, flags and offset, as lie in memory. */
inline unsigned char *pkt_behind[unsigned char *ip, uint64_t first] =
	(first & 0xf0) == 0x60 ? pkt_transport_1[ip + 40, ip[6]] :
	(first >> 48 & 0xff1f) != 0 ? NULL : ip + ((first & 15) << 2);
inline unsigned char *pkt_transport[unsigned char *ip] = pkt_behind[ip, *(uint64_t *)ip];

inline int pkt_is_icmp[unsigned char *ip] = pkt_protocol[ip] == (net_ip_is_v6[ip] ? 58 : 1);

/* Of a packet that pkt_received holds for: to many (or a macvlan), by the loopback device (IFF_LOOPBACK, 8), or to
   one of the receiving device's addresses, which are not looked at where the host does not forward what comes in by
   it (net.d). */
inline int pkt_here[struct sk_buff *skb, struct net_device *dev, unsigned char *ip] = (dev->flags & 8) != 0 ||
	(net_ip_is_v6[ip] ? net_here6[dev, (uint64_t *)(ip + 24)] : net_here4[dev, *(uint32_t *)(ip + 16)]);
inline int pkt_local[struct sk_buff *skb, unsigned char *ip] = skb->pkt_type != 0 || pkt_here[skb, skb->dev, ip];
