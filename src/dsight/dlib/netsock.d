/*
 * Which socket a TCP segment that comes in is for: found again by its ends.
 *
 * A socket is kept here when it is established, and when it sends (the SYN; or a first segment, of a
 * socket older than the trace), until it is closed.  A listener, and a connection it has not made yet, are not here.
 * Both sides of the keys are in network order: the namespace (struct net), local and remote address, both ports.
 */

uint64_t net_socks4[uint64_t, uint64_t, uint32_t];
uint64_t net_socks6[uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint32_t];

inline uint64_t net_sock4[struct net *net, uint32_t local, uint32_t remote, uint16_t lport, uint16_t rport] =
	net_socks4[(uint64_t)net, (uint64_t)local << 32 | remote, (uint32_t)lport << 16 | rport];
inline uint64_t net_sock6[struct net *net, uint64_t *local, uint64_t *remote, uint16_t lport, uint16_t rport] =
	net_socks6[(uint64_t)net, local[0], local[1], remote[0], remote[1], (uint32_t)lport << 16 | rport];

rawtp:::inet_sock_set_state
/args[0]->sk_protocol == 6 && (args[2] == 1 || args[2] == 7) && args[1] != 10 && !net_is_v6[args[0]]/
{
	net_socks4[(uint64_t)args[0]->__sk_common.skc_net.net,
		(uint64_t)args[0]->__sk_common.skc_rcv_saddr << 32 | args[0]->__sk_common.skc_daddr,
		(uint32_t)((struct inet_sock *)args[0])->inet_sport << 16 | args[0]->__sk_common.skc_dport] =
		args[2] == 1 ? (uint64_t)args[0] : 0;
}

rawtp:::inet_sock_set_state
/args[0]->sk_protocol == 6 && (args[2] == 1 || args[2] == 7) && args[1] != 10 && net_is_v6[args[0]]/
{
	this->net_local = (uint64_t *)&args[0]->__sk_common.skc_v6_rcv_saddr;
	this->net_remote = (uint64_t *)&args[0]->__sk_common.skc_v6_daddr;
	net_socks6[(uint64_t)args[0]->__sk_common.skc_net.net, this->net_local[0], this->net_local[1], this->net_remote[0], this->net_remote[1],
		(uint32_t)((struct inet_sock *)args[0])->inet_sport << 16 | args[0]->__sk_common.skc_dport] =
		args[2] == 1 ? (uint64_t)args[0] : 0;
}

/* A TCP socket itself: SOCK_STREAM is 1; 7 is closed. */
inline int tcp_sends[struct sock *sk] = sk != 0 && !tcp_is_small[sk] &&
	sk->__sk_common.skc_state != 7 && sk->sk_protocol == 6 && sk->sk_type == 1;

rawtp:::net_dev_queue
/tcp_sends[args[0]->sk] && !net_is_v6[args[0]->sk] && pkt_sent[args[0]] && net_sock4[args[0]->sk->__sk_common.skc_net.net,
    args[0]->sk->__sk_common.skc_rcv_saddr, args[0]->sk->__sk_common.skc_daddr,
    ((struct inet_sock *)args[0]->sk)->inet_sport, args[0]->sk->__sk_common.skc_dport] != (uint64_t)args[0]->sk/
{
	this->net_sk = args[0]->sk;
	net_socks4[(uint64_t)this->net_sk->__sk_common.skc_net.net,
		(uint64_t)this->net_sk->__sk_common.skc_rcv_saddr << 32 | this->net_sk->__sk_common.skc_daddr,
		(uint32_t)((struct inet_sock *)this->net_sk)->inet_sport << 16 | this->net_sk->__sk_common.skc_dport] = (uint64_t)this->net_sk;
}

rawtp:::net_dev_queue
/tcp_sends[args[0]->sk] && net_is_v6[args[0]->sk] && pkt_sent[args[0]] && net_sock6[args[0]->sk->__sk_common.skc_net.net,
    (uint64_t *)&args[0]->sk->__sk_common.skc_v6_rcv_saddr, (uint64_t *)&args[0]->sk->__sk_common.skc_v6_daddr,
    ((struct inet_sock *)args[0]->sk)->inet_sport, args[0]->sk->__sk_common.skc_dport] != (uint64_t)args[0]->sk/
{
	this->net_sk = args[0]->sk;
	this->net_local = (uint64_t *)&this->net_sk->__sk_common.skc_v6_rcv_saddr;
	this->net_remote = (uint64_t *)&this->net_sk->__sk_common.skc_v6_daddr;
	net_socks6[(uint64_t)this->net_sk->__sk_common.skc_net.net, this->net_local[0], this->net_local[1], this->net_remote[0], this->net_remote[1],
		(uint32_t)((struct inet_sock *)this->net_sk)->inet_sport << 16 | this->net_sk->__sk_common.skc_dport] = (uint64_t)this->net_sk;
}
