/*
 * --udp: every datagram's destination.
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
        this->sock = (uint64_t)args[0];
        this->tell = 0;
        this->new = 0;
        this->name = self->to;
        if (self->msgs != 0) {
                this->name = *(uint64_t *)copyin(self->msgs, 8);
                self->msgs += 64;
        }
        this->hi = (uint64_t)0;
        this->family = this->name != 0 ? *(uint16_t *)copyin(this->name, 2) : args[0]->__sk_common.skc_family;
        if (this->name == 0) {
                this->port = args[0]->__sk_common.skc_dport;
                this->there = (uint64_t *)&args[0]->__sk_common.skc_v6_daddr;
                this->hi = this->family == 10 ? this->there[0] : 0;
                this->lo = this->family == 10 ? this->there[1]
                    : ((uint64_t)args[0]->__sk_common.skc_daddr << 32 | 0xffff0000);
        }
        if (this->name != 0 && this->family != 10) {
                this->in = (uint32_t *)copyin(this->name, 8);
                this->port = *((uint16_t *)this->in + 1);
                this->lo = (uint64_t)this->in[1] << 32 | 0xffff0000;
        }
        if (this->name != 0 && this->family == 10) {
                this->in = (uint32_t *)copyin(this->name, 24);
                this->port = *((uint16_t *)this->in + 1);
                this->there = (uint64_t *)(this->in + 2);
                this->hi = this->there[0];
                this->lo = this->there[1];
        }
        this->key = ((this->hi * 31 + this->lo) * 31 + this->port) * 2 + 2;
        this->last = udp_to[this->sock];
        /* Over loopback the answer may come before sending has returned. */
        this->server = (this->last & 1) != 0 && (self->at == 0 || this->last / 2 < self->at);
        if (!this->server && this->port != 0) {
                this->new = this->last != this->key;
                this->count = this->new ? 1 : udp_count[this->sock] + 1;
                udp_count[this->sock] = this->count;
                udp_to[this->sock] = this->key;
                this->tell = (this->count & (this->count - 1)) == 0;
        }
        self->who = this->new;
}
