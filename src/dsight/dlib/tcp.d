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
 * Views of what tracepoints hand over.  The first three see struct sock *, with arg1 the state before and
 * arg2 the state after (both 0 at tcp_receive_reset); the fourth the sk_buff that a RST answers.
 */
struct tcp_socket { struct sock sk; };
struct tcp_segment_sent { struct sock sk; };
struct tcp_segment_received { struct sock sk; };
struct tcp_reset_sent { struct sk_buff skb; };
struct tcp_no_socket { struct sk_buff skb; };
struct tcp_state { int state; };

/* Linux's states to TCP_STATE_: 1 ESTABLISHED 2 SYN_SENT 3, 12 SYN_RECV 4 FIN_WAIT1 5 FIN_WAIT2 6 TIME_WAIT
   7 CLOSE 8 CLOSE_WAIT 9 LAST_ACK 10 LISTEN 11 CLOSING 13 BOUND_INACTIVE (include/net/tcp_states.h) */
inline int tcp_state_of[int state] =
	state == 1 ? TCP_STATE_ESTABLISHED : state == 2 ? TCP_STATE_SYN_SENT : state == 3 ? TCP_STATE_SYN_RECEIVED :
	state == 4 ? TCP_STATE_FIN_WAIT_1 : state == 5 ? TCP_STATE_FIN_WAIT_2 : state == 6 ? TCP_STATE_TIME_WAIT :
	state == 8 ? TCP_STATE_CLOSE_WAIT : state == 9 ? TCP_STATE_LAST_ACK : state == 10 ? TCP_STATE_LISTEN :
	state == 11 ? TCP_STATE_CLOSING : state == 12 ? TCP_STATE_SYN_RECEIVED : state == 13 ? TCP_STATE_BOUND :
	TCP_STATE_CLOSED;

translator pktinfo_t < struct tcp_socket *S > {
	pkt_addr = 0;
};

translator pktinfo_t < struct tcp_reset_sent *S > {
	pkt_addr = (uintptr_t)S;
};

/* connect(2) runs in the process that connects; later events run wherever the packet came in. */
translator csinfo_t < struct tcp_socket *S > {
	cs_addr = (uintptr_t)S;
	cs_cid = S->sk.__sk_common.skc_cookie.counter;
	cs_pid = arg2 == 2 ? pid : -1;
	cs_zoneid = net_zone[&S->sk];
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

/* A SYN: its sequence number is chosen after the state changes. */
translator tcpinfo_t < struct tcp_segment_sent *S > {
	tcp_sport = ntohs(((struct inet_sock *)S)->inet_sport);
	tcp_dport = ntohs(S->sk.__sk_common.skc_dport);
	tcp_seq = 0;
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
	tcp_sport = ntohs(S->sk.__sk_common.skc_dport);
	tcp_dport = ntohs(((struct inet_sock *)S)->inet_sport);
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
	tcps_local = net_is_v6[&S->sk] ? 0 : S->sk.__sk_common.skc_daddr == S->sk.__sk_common.skc_rcv_saddr;
	tcps_active = S->sk.sk_socket != 0;
	tcps_lport = ntohs(((struct inet_sock *)S)->inet_sport);
	tcps_rport = ntohs(S->sk.__sk_common.skc_dport);
	tcps_laddr = net_laddr[&S->sk];
	tcps_raddr = net_raddr[&S->sk];
	tcps_state = arg2 == 0 ? tcp_state_of[S->sk.__sk_common.skc_state] : tcp_state_of[arg2];
	tcps_iss = arg2 == 1 ? ((struct tcp_sock *)S)->snd_una - 1 : 0;
	tcps_irs = arg2 == 1 ? ((struct tcp_sock *)S)->rcv_nxt - 1 : 0;
	tcps_suna = ((struct tcp_sock *)S)->snd_una;
	tcps_snxt = ((struct tcp_sock *)S)->snd_nxt;
	tcps_rack = ((struct tcp_sock *)S)->rcv_wup;
	tcps_rnxt = ((struct tcp_sock *)S)->rcv_nxt;
	tcps_swnd = ((struct tcp_sock *)S)->snd_wnd;
	tcps_snd_ws = ((struct tcp_sock *)S)->rx_opt.snd_wscale;
	tcps_rwnd = ((struct tcp_sock *)S)->rcv_wnd;
	tcps_rcv_ws = ((struct tcp_sock *)S)->rx_opt.rcv_wscale;
	tcps_cwnd = ((struct tcp_sock *)S)->snd_cwnd;
	tcps_cwnd_ssthresh = ((struct tcp_sock *)S)->snd_ssthresh;
	tcps_sack_fack = ((struct tcp_sock *)S)->snd_una;
	tcps_sack_snxt = ((struct tcp_sock *)S)->snd_nxt;
	tcps_rto = ((struct inet_connection_sock *)S)->icsk_rto;
	tcps_mss = ((struct tcp_sock *)S)->mss_cache;
	tcps_retransmit = ((struct inet_connection_sock *)S)->icsk_retransmits;
	tcps_rtt = ((struct tcp_sock *)S)->srtt_us >> 3;
	tcps_rtt_sd = ((struct tcp_sock *)S)->mdev_us >> 2;
};

translator tcplsinfo_t < struct tcp_state *S > {
	tcps_state = tcp_state_of[arg1];
};

/* accept-refused: there is no socket. */
translator tcpsinfo_t < struct tcp_no_socket *S > {
	tcps_addr = 0;
};
