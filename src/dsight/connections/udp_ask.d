/*
 * --udp: every datagram's destination.  Names of ours begin with u_: other parts have clauses at the same probes.
 *
 * self->to     the address that sendto(2) was given, in user memory; 0 for none
 * self->msgs   the struct msghdr of sendmsg(2), or the next struct mmsghdr of sendmmsg(2)
 * self->at     when one of the three was called
 * udp_to[sock]     the destination of the newest datagram, mixed into a number; 0 nothing was sent;
 *                  odd: a server's socket, which received before it sent, and twice the time of that
 * udp_count[sock]  datagrams sent there in a row
 * udp_from[sock]   where the newest datagram received came from
 */
uint64_t udp_to[uint64_t];
uint64_t udp_count[uint64_t];
uint64_t udp_from[uint64_t];

syscall::sendto:entry
/arg4 != 0/
{
        self->to = arg4;
        self->at = timestamp;
}

syscall::sendmsg:entry, syscall::sendmmsg:entry
{
        self->msgs = arg1;
        self->at = timestamp;
}

rawtp:::sock_send_length
/args[0]->sk_protocol == 17/
{
        this->u_sock = (uint64_t)args[0];
        this->u_tell = 0;
        this->u_new = 0;
        this->u_name = self->to;
        if (self->msgs != 0) {
                this->u_name = *(uint64_t *)copyin(self->msgs, 8);
                self->msgs += 64;
        }
        this->u_hi = (uint64_t)0;
        this->u_family = this->u_name != 0 ? *(uint16_t *)copyin(this->u_name, 2) : args[0]->__sk_common.skc_family;
        if (this->u_name == 0) {
                this->u_port = args[0]->__sk_common.skc_dport;
                this->u_there = (uint64_t *)&args[0]->__sk_common.skc_v6_daddr;
                this->u_hi = this->u_family == 10 ? this->u_there[0] : 0;
                this->u_lo = this->u_family == 10 ? this->u_there[1]
                    : ((uint64_t)args[0]->__sk_common.skc_daddr << 32 | 0xffff0000);
        }
        if (this->u_name != 0 && this->u_family != 10) {
                this->u_in = (uint32_t *)copyin(this->u_name, 8);
                this->u_port = *((uint16_t *)this->u_in + 1);
                this->u_lo = (uint64_t)this->u_in[1] << 32 | 0xffff0000;
        }
        if (this->u_name != 0 && this->u_family == 10) {
                this->u_in = (uint32_t *)copyin(this->u_name, 24);
                this->u_port = *((uint16_t *)this->u_in + 1);
                this->u_there = (uint64_t *)(this->u_in + 2);
                this->u_hi = this->u_there[0];
                this->u_lo = this->u_there[1];
        }
        this->u_key = ((this->u_hi * 31 + this->u_lo) * 31 + this->u_port) * 2 + 2;
        this->u_last = udp_to[this->u_sock];
        /* Over loopback the answer may come before sending has returned. */
        this->u_server = (this->u_last & 1) != 0 && (self->at == 0 || this->u_last / 2 < self->at);
        if (!this->u_server && this->u_port != 0) {
                this->u_new = this->u_last != this->u_key;
                this->u_count = this->u_new ? 1 : udp_count[this->u_sock] + 1;
                udp_count[this->u_sock] = this->u_count;
                udp_to[this->u_sock] = this->u_key;
                this->u_tell = (this->u_count & (this->u_count - 1)) == 0;
        }
        this->who = this->u_new;
}
