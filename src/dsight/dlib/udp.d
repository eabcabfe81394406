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
	sk->sk_type == 2 && udp_is[sk->sk_protocol] && net_be16[udp] == net_lport[sk];

/* ---- the socket a datagram arrives for, found as the kernel finds it: by its port in the namespace's table
   (struct udp_table, Linux 6.2), a connected one before the others.  Eight are looked at. */

inline struct sock *udp_of_node[struct hlist_node *n] =
	(struct sock *)((uintptr_t)n - offsetof(struct sock_common, skc_node));
inline struct hlist_node *udp_bucket[struct net *net, uint16_t port] =
	net->ipv4.udp_table->hash[(port + net->hash_mix) & net->ipv4.udp_table->mask].head.first;

/* Bound to this port, and to this device or none. */
inline int udp_bound[struct sock *sk, uint16_t port, struct sk_buff *skb] =
	sk->__sk_common.skc_num == port && sk->__sk_common.skc_net.net == skb->dev->nd_net.net &&
	(sk->__sk_common.skc_bound_dev_if == 0 || sk->__sk_common.skc_bound_dev_if == skb->dev->ifindex);
inline int udp_local4[struct sock *sk, unsigned char *ip] = !sk->__sk_common.skc_ipv6only &&
	(sk->__sk_common.skc_rcv_saddr == 0 || sk->__sk_common.skc_rcv_saddr == *(uint32_t *)(ip + 16));
inline int udp_anywhere6[uint64_t *a] = a[0] == 0 && a[1] == 0;
inline int udp_local6[struct sock *sk, unsigned char *ip] = sk->__sk_common.skc_family == 10 &&
	(udp_anywhere6[(uint64_t *)&sk->__sk_common.skc_v6_rcv_saddr] ||
	net_same6[(uint64_t *)&sk->__sk_common.skc_v6_rcv_saddr, (uint64_t *)(ip + 24)]);
inline int udp_remote[struct sock *sk, unsigned char *ip] = net_ip_is_v6[ip] ?
	net_same6[(uint64_t *)&sk->__sk_common.skc_v6_daddr, (uint64_t *)(ip + 8)] :
	sk->__sk_common.skc_daddr == *(uint32_t *)(ip + 12);
/* Without a remote side it takes any (2); with the right one it comes first (1). */
inline int udp_takes[struct sock *sk, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	udp_bound[sk, net_be16[udp + 2], skb] && (net_ip_is_v6[ip] ? udp_local6[sk, ip] : udp_local4[sk, ip]);

/* One of a group that shares the port (SO_REUSEPORT): which of them gets it is not known here. */
inline struct sock *udp_one_of[struct sock *sk] =
	sk->sk_reuseport_cb != NULL && sk->sk_reuseport_cb->num_socks > 1 ? (struct sock *)1 : sk;
inline struct sock *udp_connected1[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	NULL;
inline struct sock *udp_connected2[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected1[n->next, skb, ip, udp];
inline struct sock *udp_connected3[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected2[n->next, skb, ip, udp];
inline struct sock *udp_connected4[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected3[n->next, skb, ip, udp];
inline struct sock *udp_connected5[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected4[n->next, skb, ip, udp];
inline struct sock *udp_connected6[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected5[n->next, skb, ip, udp];
inline struct sock *udp_connected7[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected6[n->next, skb, ip, udp];
inline struct sock *udp_connected8[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == *(uint16_t *)udp &&
	    udp_takes[udp_of_node[n], skb, ip, udp] && udp_remote[udp_of_node[n], ip] ? udp_of_node[n] :
	udp_connected7[n->next, skb, ip, udp];
inline struct sock *udp_any1[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	n->next != NULL ? (struct sock *)1 : NULL;
inline struct sock *udp_any2[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	udp_any1[n->next, skb, ip, udp];
inline struct sock *udp_any3[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	udp_any2[n->next, skb, ip, udp];
inline struct sock *udp_any4[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	udp_any3[n->next, skb, ip, udp];
inline struct sock *udp_any5[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	udp_any4[n->next, skb, ip, udp];
inline struct sock *udp_any6[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	udp_any5[n->next, skb, ip, udp];
inline struct sock *udp_any7[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	udp_any6[n->next, skb, ip, udp];
inline struct sock *udp_any8[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	n == NULL ? NULL : udp_of_node[n]->__sk_common.skc_dport == 0 &&
	    udp_takes[udp_of_node[n], skb, ip, udp] ? udp_one_of[udp_of_node[n]] :
	udp_any7[n->next, skb, ip, udp];
inline struct sock *udp_or[struct sock *found, struct hlist_node *n, struct sk_buff *skb, unsigned char *ip,
	unsigned char *udp] = found != NULL ? found : udp_any8[n, skb, ip, udp];
inline struct sock *udp_in[struct hlist_node *n, struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	udp_or[udp_connected8[n, skb, ip, udp], n, skb, ip, udp];
inline struct sock *udp_receiver[struct sk_buff *skb, unsigned char *ip, unsigned char *udp] =
	udp_in[udp_bucket[skb->dev->nd_net.net, net_be16[udp + 2]], skb, ip, udp];

/* Bound to one address, so that is this host's; or the packet is for this host. */
inline int udp_here[struct sock *sk, struct sk_buff *skb, unsigned char *ip] = sk != NULL &&
	(((uintptr_t)sk > 1 && sk->__sk_common.skc_rcv_saddr != 0) || pkt_local[skb, ip]);

/* A socket not seen before sends in the process that runs: what waits for a neighbour's address is sent later. */
translator csinfo_t < struct udp_sender *S > {
	cs_addr = (uintptr_t)S;
	cs_cid = S->sk.__sk_common.skc_cookie.counter;
	cs_pid = sock_pid[&S->sk, pid];
	cs_zoneid = net_zone[&S->sk];
};

translator csinfo_t < struct udp_receiver *S > {
	cs_addr = (uintptr_t)S > 1 ? (uintptr_t)S : 0;
	cs_cid = (uintptr_t)S > 1 ? S->sk.__sk_common.skc_cookie.counter : 0;
	cs_pid = (uintptr_t)S > 1 ? sock_pid[&S->sk, sock_waiter[&S->sk]] : -1;
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
