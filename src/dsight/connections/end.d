/* 40 Ended: of the socket in this->end, which end_all.d or end_reset.d has set */
rawtp:::END
/this->end != 0/
{
        trace(40); trace(timestamp); trace((uint64_t)this->end); trace(this->was); trace(this->err);
        trace(((struct tcp_sock *)this->end)->bytes_sent); trace(((struct tcp_sock *)this->end)->bytes_retrans);
        trace(((struct tcp_sock *)this->end)->bytes_received); trace(this->end->__sk_common.skc_flags);
        trace(((struct tcp_sock *)this->end)->total_retrans); trace(((struct tcp_sock *)this->end)->srtt_us);
        trace(((struct tcp_sock *)this->end)->bytes_acked + ((struct tcp_sock *)this->end)->snd_nxt
            - ((struct tcp_sock *)this->end)->snd_una);
        trace(((struct inet_sock *)this->end)->inet_sport); trace(this->end->__sk_common.skc_dport);
}
