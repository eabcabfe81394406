/*
 * What the network providers share: the types of args[0], args[1] and args[2], and how to read
 * addresses and lengths from a socket or from a packet's IP header.
 */

typedef struct pktinfo {
	uintptr_t pkt_addr;		/* struct sk_buff, 0 where none is shown */
} pktinfo_t;

typedef struct csinfo {
	uintptr_t cs_addr;		/* struct sock */
	uint64_t cs_cid;		/* socket cookie, 0 where nobody asked for it yet */
	pid_t cs_pid;			/* who made it; -1 where it is not known */
	zoneid_t cs_zoneid;		/* network namespace (its inode) */
} csinfo_t;

/* of no probe here: for scripts with providers and translators of their own */
typedef struct conninfo {
	string ci_local;	/* local address */
	string ci_remote;	/* remote address */
	string ci_protocol;	/* "ipv4", "ipv6", ... */
} conninfo_t;

typedef struct ipinfo {
	uint8_t ip_ver;
	uint32_t ip_plength;
	string ip_saddr;
	string ip_daddr;
} ipinfo_t;

/* ---- of a socket */

/* An IPv4-mapped IPv6 socket speaks IPv4: its IPv4 fields are filled in, its remote address is ::ffff:... */
inline int net_mapped[struct sock *sk] =
	sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0] == 0 && sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1] == 0 &&
	sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2] == htonl(0xffff);
inline int net_is_v6[struct sock *sk] = sk->__sk_common.skc_family == 10 && !net_mapped[sk];
inline string net_laddr[struct sock *sk] = net_is_v6[sk] ?
	inet_ntoa6(&sk->__sk_common.skc_v6_rcv_saddr) : inet_ntoa(&sk->__sk_common.skc_rcv_saddr);
inline string net_raddr[struct sock *sk] = net_is_v6[sk] ?
	inet_ntoa6(&sk->__sk_common.skc_v6_daddr) : inet_ntoa(&sk->__sk_common.skc_daddr);
/* A request for a socket (state 12, TCP_NEW_SYN_RECV) has struct sock_common only, and a listener. */
inline struct sock *net_full[struct sock *sk] =
	sk->__sk_common.skc_state == 12 ? sk->__sk_common.skc_listener : sk;
inline uint16_t net_lport[struct sock *sk] =
	sk->__sk_common.skc_state == 12 ? sk->__sk_common.skc_num : ntohs(((struct inet_sock *)sk)->inet_sport);
inline uint16_t net_rport[struct sock *sk] = ntohs(sk->__sk_common.skc_dport);

/* Zones are network namespaces: their inodes, as in /proc/PID/ns/net. */
inline zoneid_t net_zone[struct sock *sk] = sk->__sk_common.skc_net.net->ns.inum;
inline zoneid_t net_dev_zone[struct net_device *dev] = dev->nd_net.net->ns.inum;

/* ---- of a packet: its headers as the offsets in the sk_buff have them, and what an IP header says */

inline unsigned char *net_skb_ip[struct sk_buff *skb] = (unsigned char *)(skb->head + skb->network_header);
inline unsigned char *net_skb_transport[struct sk_buff *skb] = (unsigned char *)(skb->head + skb->transport_header);

inline int net_ip_is_v6[unsigned char *ip] = ip[0] >> 4 == 6;
inline string net_ip_saddr[unsigned char *ip] =
	net_ip_is_v6[ip] ? inet_ntoa6((struct in6_addr *)(ip + 8)) : inet_ntoa((ipaddr_t *)(ip + 12));
inline string net_ip_daddr[unsigned char *ip] =
	net_ip_is_v6[ip] ? inet_ntoa6((struct in6_addr *)(ip + 24)) : inet_ntoa((ipaddr_t *)(ip + 16));
/* Octets behind the IP header (behind the fixed one of IPv6); `length` of the whole packet where the header has 0,
   as it does for more than 64 KiB. */
inline uint32_t net_ip_plength[unsigned char *ip, uint32_t length] = net_ip_is_v6[ip] ?
	((ip[4] << 8 | ip[5]) != 0 ? ip[4] << 8 | ip[5] : length - 40) :
	((ip[2] << 8 | ip[3]) != 0 ? ip[2] << 8 | ip[3] : length) - ((ip[0] & 15) << 2);

inline uint16_t net_be16[unsigned char *p] = ntohs(*(uint16_t *)p);
inline uint32_t net_be32[unsigned char *p] = ntohl(*(uint32_t *)p);

/* ---- is an address this host's */

/* Whether what a device received, to an address, is for this host: the device does not forward, or has the address (of
   its first four). */
inline int net_has4[struct in_ifaddr *a, uint32_t to] = a != 0 && a->ifa_local == to;
inline struct in_ifaddr *net_next4[struct in_ifaddr *a] = a != 0 ? a->ifa_next : (struct in_ifaddr *)0;
inline int net_among4[struct in_ifaddr *a, uint32_t to] = net_has4[a, to] || net_has4[net_next4[a], to] ||
	net_has4[net_next4[net_next4[a]], to] || net_has4[net_next4[net_next4[net_next4[a]]], to];
inline int net_here4[struct net_device *dev, uint32_t to] = dev->ip_ptr != 0 &&
	(dev->ip_ptr->cnf.data[0] == 0 || net_among4[dev->ip_ptr->ifa_list, to]);

inline struct inet6_ifaddr *net_entry6[struct list_head *node] =
	(struct inet6_ifaddr *)((char *)node - offsetof(struct inet6_ifaddr, if_list));
inline int net_same6[uint64_t *a, uint64_t *b] = a[0] == b[0] && a[1] == b[1];
inline int net_has6[struct list_head *node, uint64_t *to] = net_same6[(uint64_t *)&net_entry6[node]->addr, to];
inline int net_among6[struct list_head *head, uint64_t *to] = head->next != head && (net_has6[head->next, to] ||
	head->next->next != head && (net_has6[head->next->next, to] ||
	head->next->next->next != head && (net_has6[head->next->next->next, to] ||
	head->next->next->next->next != head && net_has6[head->next->next->next->next, to])));
inline int net_here6[struct net_device *dev, uint64_t *to] = dev->ip6_ptr != 0 &&
	(dev->ip6_ptr->cnf.forwarding == 0 || net_among6[&dev->ip6_ptr->addr_list, to]);
