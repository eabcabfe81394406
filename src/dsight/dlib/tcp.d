/*
 * tcp: what the arguments of its probes are made of; net.d has what the network providers share.
 *
 * A probe hands over one kernel object; the structs below are views of it, each with its own
 * translators, that say whose segment is meant and what its header holds.  Where the
 * kernel shows no segment (the socket's state changes as it is sent or received), the header's
 * fields are those that the socket's own say it has; what cannot be known is 0.
 */

typedef struct tcpinfo {
	uint16_t tcp_sport;
	uint16_t tcp_dport;
	uint32_t tcp_seq;
	uint32_t tcp_ack;
	uint8_t tcp_offset;		/* bytes */
	uint8_t tcp_flags;
	uint16_t tcp_window;
	uint16_t tcp_checksum;
	uint16_t tcp_urgent;
	uintptr_t tcp_hdr;		/* struct tcphdr, 0 where none is shown */
} tcpinfo_t;

typedef struct tcpsinfo {
	uintptr_t tcps_addr;
	int tcps_local;			/* both ends have one address */
	int tcps_active;		/* we connect */
	uint16_t tcps_lport;
	uint16_t tcps_rport;
	string tcps_laddr;
	string tcps_raddr;
	int32_t tcps_state;
	uint32_t tcps_iss;
	uint32_t tcps_irs;
	uint32_t tcps_suna;
	uint32_t tcps_snxt;
	uint32_t tcps_rack;
	uint32_t tcps_rnxt;
	uint32_t tcps_swnd;
	int32_t tcps_snd_ws;
	uint32_t tcps_rwnd;
	int32_t tcps_rcv_ws;
	uint32_t tcps_cwnd;
	uint32_t tcps_cwnd_ssthresh;
	uint32_t tcps_sack_fack;
	uint32_t tcps_sack_snxt;
	uint32_t tcps_rto;		/* ms */
	uint32_t tcps_mss;
	int tcps_retransmit;
	uint32_t tcps_rtt;		/* us */
	uint32_t tcps_rtt_sd;		/* us */
} tcpsinfo_t;

typedef struct tcplsinfo {
	int32_t tcps_state;
} tcplsinfo_t;

/*
 * Views of what the probes' means hand over:
 *
 *   tcp_socket, tcp_segment_sent, tcp_segment_received   struct sock *; where its state changes (inet_sock_set_state)
 *                          arg1 is the state before and arg2 the state after, elsewhere arg2 is 0
 *   tcp_packet_sent, tcp_packet_received                 struct sk_buff *, at a device; arg1 is its IP header, arg2 0,
 *                          arg3 its TCP header, arg4 the socket that sends it
 *   tcp_reset_sent                                       the sk_buff that a RST answers
 */
struct tcp_socket { struct sock sk; };
struct tcp_segment_sent { struct sock sk; };
struct tcp_segment_received { struct sock sk; };
struct tcp_packet_sent { struct sk_buff skb; };
struct tcp_packet_received { struct sk_buff skb; };
struct tcp_reset_sent { struct sk_buff skb; };
struct tcp_header { struct tcphdr th; };
struct tcp_state { int state; };

/* Linux's states to TCP_STATE_: 1 ESTABLISHED 2 SYN_SENT 3, 12 SYN_RECV 4 FIN_WAIT1 5 FIN_WAIT2 6 TIME_WAIT
   7 CLOSE 8 CLOSE_WAIT 9 LAST_ACK 10 LISTEN 11 CLOSING 13 BOUND_INACTIVE (include/net/tcp_states.h) */
inline int tcp_state_of[int state] =
	state == 1 ? TCP_STATE_ESTABLISHED : state == 2 ? TCP_STATE_SYN_SENT : state == 3 ? TCP_STATE_SYN_RECEIVED :
	state == 4 ? TCP_STATE_FIN_WAIT_1 : state == 5 ? TCP_STATE_FIN_WAIT_2 : state == 6 ? TCP_STATE_TIME_WAIT :
	state == 8 ? TCP_STATE_CLOSE_WAIT : state == 9 ? TCP_STATE_LAST_ACK : state == 10 ? TCP_STATE_LISTEN :
	state == 11 ? TCP_STATE_CLOSING : state == 12 ? TCP_STATE_SYN_RECEIVED : state == 13 ? TCP_STATE_BOUND :
	TCP_STATE_CLOSED;

/* Where only struct sock_common is there: a connection that comes in, a request for a socket (12); and what is left of
   one in TIME_WAIT (6), which since Linux 6.13 is the socket of what answers for it. */
inline int tcp_is_small[struct sock *sk] = sk->__sk_common.skc_state == 12 || sk->__sk_common.skc_state == 6;
/* The socket that sends a segment, or its request; or NULL.  SOCK_STREAM is 1: what answers for no socket is sent by a
   raw one of the kernel's. */
inline struct tcp_socket *tcp_sender[struct sock *sk] =
	sk != 0 && (tcp_is_small[sk] ? sk->__sk_common.skc_state == 12 : sk->sk_type == 1) ? (struct tcp_socket *)sk :
	(struct tcp_socket *)0;
/* The socket a segment is for, or NULL where that is not known (netsock.d). */
inline struct tcp_socket *tcp_receiver[struct tcp_packet_received *S] = net_ip_is_v6[(unsigned char *)arg1] ?
	(struct tcp_socket *)net_sock6[S->skb.dev->nd_net.net, (uint64_t *)(arg1 + 24), (uint64_t *)(arg1 + 8),
		((struct tcphdr *)arg3)->dest, ((struct tcphdr *)arg3)->source] :
	(struct tcp_socket *)net_sock4[S->skb.dev->nd_net.net, *(uint32_t *)(arg1 + 16), *(uint32_t *)(arg1 + 12),
		((struct tcphdr *)arg3)->dest, ((struct tcphdr *)arg3)->source];

inline uint64_t tcp_cookie[struct tcp_socket *S] = S == 0 ? 0 : S->sk.__sk_common.skc_cookie.counter;
inline int tcp_is_request[struct sock *sk] = sk->__sk_common.skc_state == 12;
inline struct tcp_sock *tcp_full[struct tcp_socket *S] = (struct tcp_sock *)net_full[&S->sk];

/* A socket that was accepted has the backlog of its listener. */
inline int tcp_is_active[struct tcp_socket *S] = !tcp_is_request[&S->sk] && S->sk.sk_max_ack_backlog == 0;
/* Whether both sides' sequence numbers are known: states 1 and 4 to 11; CLOSED has forgotten. */
inline int tcp_now[struct tcp_socket *S] = arg2 != 0 ? arg2 : S->sk.__sk_common.skc_state;
inline int tcp_synchronised[struct tcp_socket *S] = tcp_now[S] == 1 || tcp_now[S] > 3 && tcp_now[S] < 10 && tcp_now[S] != 7 ||
	tcp_now[S] == 11;

/* Why an attempt ended.  No errno was set: nothing was sent, as no local port was to be had (EADDRNOTAVAIL, 99), or
   its process gave it up: then what an ICMP message said, or 0. */
inline int tcp_attempt_errno[struct tcp_socket *S] = S->sk.sk_err != 0 ? S->sk.sk_err :
	S->sk.tcp_rtx_queue.rb_node == 0 && ((struct tcp_sock *)S)->total_retrans == 0 ? 99 : S->sk.sk_err_soft;

translator pktinfo_t < struct tcp_socket *S > {
	pkt_addr = 0;
};

translator pktinfo_t < struct tcp_reset_sent *S > {
	pkt_addr = (uintptr_t)S;
};

translator csinfo_t < struct tcp_socket *S > {
	cs_addr = (uintptr_t)S;
	cs_cid = tcp_cookie[S];
	cs_pid = net_pid[&S->sk];
	cs_zoneid = net_zone[&S->sk];
};

translator csinfo_t < struct tcp_packet_sent *S > {
	cs_addr = arg4;
	cs_cid = tcp_cookie[(struct tcp_socket *)arg4];
	cs_pid = net_pid[(struct sock *)arg4];
	cs_zoneid = net_dev_zone[S->skb.dev];
};

translator csinfo_t < struct tcp_packet_received *S > {
	cs_addr = (uintptr_t)tcp_receiver[S];
	cs_cid = tcp_cookie[tcp_receiver[S]];
	cs_pid = net_pid[(struct sock *)tcp_receiver[S]];
	cs_zoneid = net_dev_zone[S->skb.dev];
};

translator csinfo_t < struct tcp_reset_sent *S > {
	cs_addr = 0;
	cs_cid = 0;
	cs_pid = -1;
	cs_zoneid = net_dev_zone[S->skb.dev];
};

translator ipinfo_t < struct tcp_segment_sent *S > {
	ip_ver = net_is_v6[&S->sk] ? 6 : 4;
	ip_plength = 0;
	ip_saddr = net_laddr[&S->sk];
	ip_daddr = net_raddr[&S->sk];
};

translator ipinfo_t < struct tcp_segment_received *S > {
	ip_ver = net_is_v6[&S->sk] ? 6 : 4;
	ip_plength = 0;
	ip_saddr = net_raddr[&S->sk];
	ip_daddr = net_laddr[&S->sk];
};

/* The RST goes to where the segment it answers came from. */
translator ipinfo_t < struct tcp_reset_sent *S > {
	ip_ver = net_skb_ip[&S->skb][0] >> 4;
	ip_plength = 20;
	ip_saddr = net_ip_daddr[net_skb_ip[&S->skb]];
	ip_daddr = net_ip_saddr[net_skb_ip[&S->skb]];
};

translator tcpinfo_t < struct tcp_header *H > {
	tcp_sport = ntohs(H->th.source);
	tcp_dport = ntohs(H->th.dest);
	tcp_seq = ntohl(H->th.seq);
	tcp_ack = ntohl(H->th.ack_seq);
	tcp_offset = ((unsigned char *)H)[12] >> 4 << 2;
	tcp_flags = ((unsigned char *)H)[13];
	tcp_window = ntohs(H->th.window);
	tcp_checksum = ntohs(H->th.check);
	tcp_urgent = ntohs(H->th.urg_ptr);
	tcp_hdr = (uintptr_t)H;
};

/* A SYN: its sequence number is chosen after the state becomes SYN_SENT; 0 then. */
translator tcpinfo_t < struct tcp_segment_sent *S > {
	tcp_sport = net_lport[&S->sk];
	tcp_dport = net_rport[&S->sk];
	tcp_seq = arg2 == 2 ? 0 : ((struct tcp_sock *)S)->snd_una;
	tcp_ack = 0;
	tcp_offset = 0;
	tcp_flags = TH_SYN;
	tcp_window = 0;
	tcp_checksum = 0;
	tcp_urgent = 0;
	tcp_hdr = 0;
};

/* SYN|ACK in SYN_SENT, the handshake's last ACK in SYN_RECV, RST where no state changes. */
translator tcpinfo_t < struct tcp_segment_received *S > {
	tcp_sport = net_rport[&S->sk];
	tcp_dport = net_lport[&S->sk];
	tcp_seq = arg2 == 0 ? 0 : arg1 == 2 ? ((struct tcp_sock *)S)->rcv_nxt - 1 : ((struct tcp_sock *)S)->rcv_nxt;
	tcp_ack = arg2 == 0 ? ((struct tcp_sock *)S)->write_seq : ((struct tcp_sock *)S)->snd_una;
	tcp_offset = 0;
	tcp_flags = arg2 == 0 ? TH_RST | TH_ACK : arg1 == 2 ? TH_SYN | TH_ACK : TH_ACK;
	tcp_window = arg2 == 0 ? 0 : arg1 == 2 ? ((struct tcp_sock *)S)->snd_wnd : ((struct tcp_sock *)S)->snd_wnd >> ((struct tcp_sock *)S)->rx_opt.snd_wscale;
	tcp_checksum = 0;
	tcp_urgent = 0;
	tcp_hdr = 0;
};

translator tcpinfo_t < struct tcp_reset_sent *S > {
	tcp_sport = net_skb_transport[&S->skb][2] << 8 | net_skb_transport[&S->skb][3];
	tcp_dport = net_skb_transport[&S->skb][0] << 8 | net_skb_transport[&S->skb][1];
	tcp_seq = 0;
	tcp_ack = ntohl(*(uint32_t *)(net_skb_transport[&S->skb] + 4)) + 1;
	tcp_offset = 20;
	tcp_flags = TH_RST | TH_ACK;
	tcp_window = 0;
	tcp_checksum = 0;
	tcp_urgent = 0;
	tcp_hdr = 0;
};

translator tcpsinfo_t < struct tcp_socket *S > {
	tcps_addr = (uintptr_t)S;
	tcps_local = net_is_v6[&S->sk] ?
		net_same6[(uint64_t *)&S->sk.__sk_common.skc_v6_daddr, (uint64_t *)&S->sk.__sk_common.skc_v6_rcv_saddr] :
		S->sk.__sk_common.skc_daddr == S->sk.__sk_common.skc_rcv_saddr;
	tcps_active = tcp_is_active[S];
	tcps_lport = net_lport[&S->sk];
	tcps_rport = net_rport[&S->sk];
	tcps_laddr = net_laddr[&S->sk];
	tcps_raddr = net_raddr[&S->sk];
	tcps_state = tcp_state_of[tcp_now[S]];
	tcps_iss = tcp_is_request[&S->sk] ? ((struct tcp_request_sock *)S)->snt_isn :
		tcp_now[S] == 2 && arg2 == 0 ? ((struct tcp_sock *)S)->snd_una : !tcp_synchronised[S] ? 0 :
		((struct tcp_sock *)S)->snd_una - ((struct tcp_sock *)S)->bytes_acked - !tcp_is_active[S];
	tcps_irs = tcp_is_request[&S->sk] ? ((struct tcp_request_sock *)S)->rcv_isn : !tcp_synchronised[S] ? 0 :
		((struct tcp_sock *)S)->rcv_nxt - ((struct tcp_sock *)S)->bytes_received - 1;
	tcps_suna = tcp_full[S]->snd_una;
	tcps_snxt = tcp_full[S]->snd_nxt;
	tcps_rack = tcp_full[S]->rcv_wup;
	tcps_rnxt = tcp_full[S]->rcv_nxt;
	tcps_swnd = tcp_full[S]->snd_wnd;
	tcps_snd_ws = tcp_full[S]->rx_opt.snd_wscale;
	tcps_rwnd = tcp_full[S]->rcv_wnd;
	tcps_rcv_ws = tcp_full[S]->rx_opt.rcv_wscale;
	tcps_cwnd = tcp_full[S]->snd_cwnd;
	tcps_cwnd_ssthresh = tcp_full[S]->snd_ssthresh;
	tcps_sack_fack = tcp_full[S]->highest_sack != 0 && tcp_full[S]->sacked_out != 0 ?
		((struct tcp_skb_cb *)&tcp_full[S]->highest_sack->cb[0])->seq : tcp_full[S]->snd_una;
	tcps_sack_snxt = tcp_full[S]->high_seq != 0 && tcp_full[S]->sacked_out != 0 ? tcp_full[S]->high_seq : tcp_full[S]->snd_nxt;
	tcps_rto = tcp_full[S]->inet_conn.icsk_rto * 1000 / HZ;
	tcps_mss = tcp_full[S]->mss_cache;
	tcps_retransmit = tcp_full[S]->inet_conn.icsk_retransmits;
	tcps_rtt = tcp_full[S]->srtt_us >> 3;
	tcps_rtt_sd = tcp_full[S]->mdev_us >> 2;
};

translator tcplsinfo_t < struct tcp_state *S > {
	tcps_state = tcp_state_of[arg1];
};
