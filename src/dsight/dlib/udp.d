/*
 * udp: a datagram, and the socket it is sent by or arrives for.
 */

typedef struct udpinfo {
	uint16_t udp_sport;
	uint16_t udp_dport;
	uint16_t udp_length;
	uint16_t udp_checksum;
	uintptr_t udp_hdr;		/* struct udphdr */
} udpinfo_t;

typedef struct udpsinfo {
	uintptr_t udps_addr;		/* struct sock */
	uint16_t udps_lport;
	uint16_t udps_rport;		/* 0 where the socket is not connected */
	string udps_laddr;
	string udps_raddr;
} udpsinfo_t;

/* Views: the UDP header; the socket, 1 where there are several it can be and it is not known which. */
struct udp_header { unsigned char octets[8]; };
struct udp_sock_view { struct sock sk; };
struct udp_sender { struct sock sk; };
struct udp_receiver { struct sock sk; };

inline int udp_is[uint8_t protocol] = protocol == 17 || protocol == 136;	/* UDP-Lite */

/* A packet with a UDP header that a UDP socket sent: not a tunnel's (another port), nor a raw socket's. */
inline int udp_sent_by[struct sock *sk, unsigned char *udp] = udp != NULL && ip_sock_whole[sk] &&
	sk->sk_type == 2 && udp_is[sk->sk_protocol] && *(uint16_t *)udp == ((struct inet_sock *)sk)->inet_sport;

/* ---- the socket a datagram arrives for, found as the kernel finds it: by its port in the namespace's table
   (struct udp_table, Linux 6.2), a connected one before the others.  Eight are looked at. */

inline struct sock *udp_of_node[struct hlist_node *n] =
	(struct sock *)((uintptr_t)n - offsetof(struct sock_common, skc_node));
inline struct hlist_node *udp_slot[struct udp_table *table, uint32_t hash] =
	table->hash[hash & table->mask].head.first;
inline struct hlist_node *udp_bucket[struct net *net, uint16_t port] =
	udp_slot[net->ipv4.udp_table, port + net->hash_mix];

/* Of this namespace, and bound to this device or none. */
inline int udp_bound[int device, int ifindex] = device == 0 || device == ifindex;
inline int udp_in_net[struct sock *sk, struct net_device *dev] =
	sk->__sk_common.skc_net.net == dev->nd_net.net && udp_bound[sk->__sk_common.skc_bound_dev_if, dev->ifindex];
inline int udp_to4[uint32_t bound, uint32_t address] = bound == 0 || bound == address;
inline int udp_to6[uint64_t *bound, uint64_t *address] =
	(bound[0] == 0 && bound[1] == 0) || net_same6[bound, address];
inline int udp_at[struct sock *sk, unsigned char *ip] = net_ip_is_v6[ip] ?
	sk->__sk_common.skc_family == 10 &&
	    udp_to6[(uint64_t *)&sk->__sk_common.skc_v6_rcv_saddr, (uint64_t *)(ip + 24)] :
	udp_to4[sk->__sk_common.skc_rcv_saddr, *(uint32_t *)(ip + 16)] && !sk->__sk_common.skc_ipv6only;
inline int udp_from[struct sock *sk, unsigned char *ip] = net_ip_is_v6[ip] ?
	net_same6[(uint64_t *)&sk->__sk_common.skc_v6_daddr, (uint64_t *)(ip + 8)] :
	sk->__sk_common.skc_daddr == *(uint32_t *)(ip + 12);

/* One of a group that shares the port (SO_REUSEPORT): which of them gets it is not known here. */
inline struct sock *udp_of_group[struct sock *sk, struct sock_reuseport *group] =
	group != NULL && group->num_socks > 1 ? (struct sock *)1 : sk;

/* `pair`: skc_portpair of the socket that is looked for, the remote port in network order, then the local one. */
inline struct sock *udp_connected_1[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	NULL;
inline struct sock *udp_connected_2[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected_1[n->next, pair, dev, ip];
inline struct sock *udp_connected_3[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected_2[n->next, pair, dev, ip];
inline struct sock *udp_connected_4[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected_3[n->next, pair, dev, ip];
inline struct sock *udp_connected_5[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected_4[n->next, pair, dev, ip];
inline struct sock *udp_connected_6[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected_5[n->next, pair, dev, ip];
inline struct sock *udp_connected_7[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected_6[n->next, pair, dev, ip];
inline struct sock *udp_connected_8[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] && udp_from[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected_7[n->next, pair, dev, ip];
inline struct sock *udp_open_1[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	n->next != NULL ? (struct sock *)1 : NULL;
inline struct sock *udp_open_2[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	udp_open_1[n->next, pair, dev, ip];
inline struct sock *udp_open_3[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	udp_open_2[n->next, pair, dev, ip];
inline struct sock *udp_open_4[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	udp_open_3[n->next, pair, dev, ip];
inline struct sock *udp_open_5[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	udp_open_4[n->next, pair, dev, ip];
inline struct sock *udp_open_6[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	udp_open_5[n->next, pair, dev, ip];
inline struct sock *udp_open_7[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	udp_open_6[n->next, pair, dev, ip];
inline struct sock *udp_open_8[struct hlist_node *n, uint32_t pair, struct net_device *dev, unsigned char *ip] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_portpair == pair && udp_in_net[udp_of_node[n], dev] &&
	    udp_at[udp_of_node[n], ip] ? udp_of_group[udp_of_node[n], udp_of_node[n]->sk_reuseport_cb] :
	udp_open_7[n->next, pair, dev, ip];
inline struct sock *udp_either[struct sock *found, struct hlist_node *n, uint32_t local, struct net_device *dev,
	unsigned char *ip] = found != NULL ? found : udp_open_8[n, local, dev, ip];
inline struct sock *udp_in[struct hlist_node *n, uint32_t remote, uint32_t local, struct net_device *dev,
	unsigned char *ip] = udp_either[udp_connected_8[n, remote | local, dev, ip], n, local, dev, ip];
/* `ports`: of the UDP header, source and destination, as they lie in memory */
inline struct sock *udp_for[uint32_t ports, struct net_device *dev, unsigned char *ip] =
	udp_in[udp_bucket[dev->nd_net.net, ntohs(ports >> 16)], ports & 0xffff, (uint32_t)ntohs(ports >> 16) << 16, dev, ip];
inline struct sock *udp_receiver_of[struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	udp_for[*(uint32_t *)udp, skb->dev, ip];

/* Bound to one address, so that is this host's; or the packet is for this host. */
inline int udp_here[struct sock *sk, struct sk_buff *skb, unsigned char *ip] = sk != NULL &&
	(((uintptr_t)sk > 1 && sk->__sk_common.skc_rcv_saddr != 0) || pkt_local[skb, ip]);

translator csinfo_t < struct udp_sender *S > {
	cs_addr = (uintptr_t)S;
	cs_cid = S->sk.__sk_common.skc_cookie.counter;
	cs_pid = sock_sender[&S->sk];
	cs_zoneid = net_zone[&S->sk];
};

translator csinfo_t < struct udp_receiver *S > {
	cs_addr = (uintptr_t)S > 1 ? (uintptr_t)S : 0;
	cs_cid = (uintptr_t)S > 1 ? S->sk.__sk_common.skc_cookie.counter : 0;
	cs_pid = (uintptr_t)S > 1 ? sock_receiver[&S->sk] : -1;
	cs_zoneid = net_dev_zone[((struct sk_buff *)arg0)->dev];
};

translator udpinfo_t < struct udp_header *H > {
	udp_sport = net_be16[(unsigned char *)H];
	udp_dport = net_be16[(unsigned char *)H + 2];
	udp_length = net_be16[(unsigned char *)H + 4];
	udp_checksum = net_be16[(unsigned char *)H + 6];
	udp_hdr = (uintptr_t)H;
};

translator udpsinfo_t < struct udp_sock_view *S > {
	udps_addr = (uintptr_t)S > 1 ? (uintptr_t)S : 0;
	udps_lport = (uintptr_t)S > 1 ? net_lport[&S->sk] : 0;
	udps_rport = (uintptr_t)S > 1 ? net_rport[&S->sk] : 0;
	udps_laddr = (uintptr_t)S > 1 ? net_laddr[&S->sk] : "";
	udps_raddr = (uintptr_t)S > 1 ? net_raddr[&S->sk] : "";
};
