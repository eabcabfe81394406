/* 41 Accepted; of an MPTCP connection the first subflow's socket, which ends with it */
ACCEPTS
/self->accepted != 0/
{
        this->sk = (struct sock *)self->accepted;
        this->sub = this->sk->sk_protocol == 262 ? FIRST : self->accepted;
        trace(41); trace(timestamp); trace(tid); trace(this->sub); trace(this->sk->__sk_common.skc_state);
        trace(this->sk->sk_protocol); trace(this->sk->__sk_common.skc_family);
        trace(this->sk->__sk_common.skc_rcv_saddr); trace(this->sk->__sk_common.skc_daddr);
        tracemem(&this->sk->__sk_common.skc_v6_rcv_saddr, 16); tracemem(&this->sk->__sk_common.skc_v6_daddr, 16);
        trace(((struct inet_sock *)this->sk)->inet_sport); trace(this->sk->__sk_common.skc_dport);
        trace(this->sk->sk_socket->file->f_flags); trace(this->sk->__sk_common.skc_net.net->ns.inum);
        self->accepted = 0;
}

