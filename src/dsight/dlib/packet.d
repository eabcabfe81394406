/*
 * Which packets IP sends and receives, and which are for this host: what ip, udp, icmp and mib share.  Packets are
 * seen at net_dev_queue and netif_receive_skb, where one may pass several devices, one on top of another.
 */

/* A device whose packets are another's: port of a bridge, of Open vSwitch, of a team; slave of a bond.
   (include/linux/netdevice.h; IFF_SLAVE is 0x800 of include/uapi/linux/if.h) */
inline int pkt_dev_port[struct net_device *dev] =
	(dev->priv_flags & (IFF_BRIDGE_PORT | IFF_OVS_DATAPATH | IFF_TEAM_PORT)) != 0;
inline int pkt_dev_slave[struct net_device *dev] = (dev->flags & 0x800) != 0 || pkt_dev_port[dev];
inline int pkt_dev_loopback[struct net_device *dev] = (dev->flags & 8) != 0;	/* IFF_LOOPBACK */

/* netif_receive_skb: data is behind the link's header; an 802.1Q tag may stand before IP's header. */
inline int pkt_rx_tag[struct sk_buff *skb] = skb->protocol == htons(0x8100) ? 4 : 0;
inline unsigned char *pkt_rx_ip[struct sk_buff *skb] = (unsigned char *)(skb->data + pkt_rx_tag[skb]);
inline uint16_t pkt_rx_protocol[struct sk_buff *skb] =
	skb->protocol == htons(0x8100) ? net_be16[(unsigned char *)(skb->data + 2)] : ntohs(skb->protocol);
/* What IP gets: to this host's link address or to many (not PACKET_OTHERHOST, 3).  A bond's slave counts,
   for the packet is seen there only; a bridge's port does not, the bridge receives it again. */
inline int pkt_received[struct sk_buff *skb] = skb->pkt_type != 3 &&
	(pkt_rx_protocol[skb] == 0x800 || pkt_rx_protocol[skb] == 0x86dd) && !pkt_dev_port[skb->dev];

/* net_dev_queue: what IP hands to a device.  Not: a packet that a device passes on to the one below it
   (a VLAN's has its tag, a bond's and a bridge's goes to a slave, others' have another link address
   or come from another namespace), nor one that a packet socket (AF_PACKET 17, AF_XDP 44) made. */
inline uint64_t pkt_link48[unsigned char *p] = (uint64_t)net_be16[p] << 32 | net_be32[p + 2];
inline int pkt_tx_own[struct sk_buff *skb] = skb->dev->type != 1 ||	/* ARPHRD_ETHER */
	pkt_link48[(unsigned char *)(skb->head + skb->mac_header + 6)] == pkt_link48[(unsigned char *)skb->dev->dev_addr];
inline int pkt_tx_sock[struct sock *sk, struct net_device *dev] = sk == NULL ||
	(sk->__sk_common.skc_family != 17 && sk->__sk_common.skc_family != 44 &&
	sk->__sk_common.skc_net.net == dev->nd_net.net);
inline int pkt_sent[struct sk_buff *skb] = (skb->protocol == htons(0x800) || skb->protocol == htons(0x86dd)) &&
	skb->vlan_all == 0 && !pkt_dev_slave[skb->dev] && pkt_tx_sock[skb->sk, skb->dev] && pkt_tx_own[skb];

/* Octets of the packet from IP's header on. */
inline uint32_t pkt_length[struct sk_buff *skb, unsigned char *ip] =
	skb->len - (uint32_t)((uintptr_t)ip - (uintptr_t)skb->data);

/* The transport's header in a packet, 0 for a later fragment; and its protocol.  Of IPv6's extension
   headers the first two are passed: hop-by-hop 0, routing 43, destination 60, fragment 44 (RFC 8200). */
inline int pkt_six_extends[uint8_t kind] = kind == 0 || kind == 43 || kind == 60 || kind == 44;
inline unsigned char *pkt_six_after[unsigned char *at, uint8_t kind] = kind == 44 ? at + 8 : at + 8 + at[1] * 8;
inline int pkt_six_later[unsigned char *at, uint8_t kind] = kind == 44 && (net_be16[at + 2] & 0xfff8) != 0;
inline uint8_t pkt_six_protocol2[unsigned char *at, uint8_t kind] = pkt_six_extends[kind] ? at[0] : kind;
inline uint8_t pkt_six_protocol1[unsigned char *at, uint8_t kind] =
	pkt_six_extends[kind] ? pkt_six_protocol2[pkt_six_after[at, kind], at[0]] : kind;
inline unsigned char *pkt_six_transport2[unsigned char *at, uint8_t kind] =
	pkt_six_later[at, kind] ? NULL : pkt_six_extends[kind] ? pkt_six_after[at, kind] : at;
inline unsigned char *pkt_six_transport1[unsigned char *at, uint8_t kind] = pkt_six_later[at, kind] ? NULL :
	pkt_six_extends[kind] ? pkt_six_transport2[pkt_six_after[at, kind], at[0]] : at;
inline uint8_t pkt_protocol[unsigned char *ip] =
	net_ip_is_v6[ip] ? pkt_six_protocol1[ip + 40, ip[6]] : ip[9];
inline unsigned char *pkt_transport[unsigned char *ip] = net_ip_is_v6[ip] ? pkt_six_transport1[ip + 40, ip[6]] :
	(net_be16[ip + 6] & 0x1fff) != 0 ? NULL : ip + ((ip[0] & 15) << 2);

inline int pkt_is_icmp[unsigned char *ip] = pkt_protocol[ip] == (net_ip_is_v6[ip] ? 58 : 1);

/* ---- whether a received packet is for this host */

/* Of a packet that pkt_received holds for: to many, by the loopback device, or to one of the receiving device's
   addresses, which need not be looked at where the host does not forward what comes in by it (net.d). */
inline int pkt_local[struct sk_buff *skb, unsigned char *ip] = skb->pkt_type != 0 || pkt_dev_loopback[skb->dev] ||
	(net_ip_is_v6[ip] ? net_here6[skb->dev, (uint64_t *)(ip + 24)] : net_here4[skb->dev, *(uint32_t *)(ip + 16)]);
