/*
 * DNS as processes themselves speak it: what a socket sends to port 53, and what it gets back.
 * connections/lookup_events.py decodes it; names.py fills in the system calls' numbers (SYS_...) and the
 * registers with their number and arguments (REG_...); the identity stands where WHO does.
 *
 * The tracepoints are in the process's own context, behind the copy: the message is in its memory,
 * where the system call's arguments say.  Linux 6.3.
 *
 * self->w_sock    the unconnected socket the thread last asked with
 * self->w_asks    the thread has asked with any
 * self->w_server  the thread is a name server: what it asks, it asks for others
 *
 * this->w_port    the port a socket is connected to, 0 for none: all that is read of most sockets
 * this->w_udp     it is an unconnected UDP socket
 *
 * 0x3500 is port 53 as it lies in memory, 17 UDP.
 */
rawtp:::sock_send_length, rawtp:::sock_recv_length
{
        this->w_port = args[0]->__sk_common.skc_dport;
}

rawtp:::sock_send_length, rawtp:::sock_recv_length
/this->w_port == 0/
{
        this->w_udp = args[0]->sk_protocol == 17;
}

/* Somebody asks us. */
rawtp:::sock_recv_length
/this->w_udp && args[0]->__sk_common.skc_num == 53 && args[1] > 0/
{
        self->w_server = 1;
}

rawtp:::sock_send_length
/(this->w_port == 0x3500 || this->w_udp) && args[1] > 0 && self->w_server == 0/
{
        this->w_call = (int)uregs[REG_CALL];
        this->w_head = this->w_call == SYS_sendmsg || this->w_call == SYS_sendmmsg ? uregs[REG_1] : 0;
        this->w_peer = this->w_port != 0 ? 0
            : this->w_call == SYS_sendto ? uregs[REG_4] : this->w_head != 0 ? *(uint64_t *)copyin(this->w_head, 8) : 0;
        this->w_dns = this->w_port != 0 ? 1
            : this->w_peer != 0 ? *(uint16_t *)copyin(this->w_peer + 2, 2) == 0x3500 : 0;
}

rawtp:::sock_send_length
/this->w_dns/
{
        this->w_who = 1;
        self->w_asks = 1;
        this->w_iov = this->w_head != 0 ? *(uint64_t *)copyin(this->w_head + 16, 8)
            : this->w_call == SYS_writev ? uregs[REG_1] : 0;
        this->w_more = this->w_call == SYS_sendmmsg ? (uregs[REG_2] > 1 ? *(uint64_t *)copyin(this->w_head + 80, 8) : 0)
            : this->w_iov != 0 ? ((this->w_head != 0 ? *(uint64_t *)copyin(this->w_head + 24, 8) : uregs[REG_2]) > 1
                ? this->w_iov + 16 : 0) : 0;
        this->w_data = this->w_iov != 0 ? *(uint64_t *)copyin(this->w_iov, 8)
            : this->w_call == SYS_sendto || this->w_call == SYS_write ? uregs[REG_1] : 0;
        this->w_size = this->w_iov != 0 ? (int)*(uint64_t *)copyin(this->w_iov + 8, 8) : (int)args[1];
        this->w_data2 = this->w_more != 0 ? *(uint64_t *)copyin(this->w_more, 8) : 0;
        this->w_size2 = this->w_more != 0 ? (int)*(uint64_t *)copyin(this->w_more + 8, 8) : 0;
}

rawtp:::sock_send_length
/this->w_dns && this->w_peer != 0/
{
        self->w_sock = (uint64_t)args[0];
}

WHO

/* 60 Server: to where an unconnected socket sends, as a sockaddr */
rawtp:::sock_send_length
/this->w_dns && this->w_peer != 0/
{
        trace(60); trace(tid); tracemem(copyin(this->w_peer, args[0]->__sk_common.skc_family == 10 ? 28 : 16), 28);
}

/* 61 Sent: one message, or two, or one in two pieces (`several`: sendmmsg) */
rawtp:::sock_send_length
/this->w_data != 0/
{
        trace(61); trace(timestamp); trace(tid); trace((uint64_t)args[0]); trace(args[0]->sk_protocol);
        trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_daddr); tracemem(&args[0]->__sk_common.skc_v6_daddr, 16);
        trace(args[0]->__sk_common.skc_net.net->ns.inum); trace(this->w_call == SYS_sendmmsg);
        trace(this->w_size); trace(this->w_size2);
        tracemem(copyin(this->w_data, this->w_size < 0 ? 0 : this->w_size < 320 ? this->w_size : 320), 320);
        tracemem(copyin(this->w_data2, this->w_size2 < 0 ? 0 : this->w_size2 < 320 ? this->w_size2 : 320), 320);
}

rawtp:::sock_recv_length
/args[1] > 0 && (this->w_port == 0x3500 || this->w_udp && self->w_sock == (uint64_t)args[0])/
{
        this->w_call = (int)uregs[REG_CALL];
        this->w_head = this->w_call == SYS_recvmsg || this->w_call == SYS_recvmmsg ? uregs[REG_1] : 0;
        this->w_iov = this->w_head != 0 ? *(uint64_t *)copyin(this->w_head + 16, 8)
            : this->w_call == SYS_readv ? uregs[REG_1] : 0;
        this->w_data = this->w_iov != 0 ? *(uint64_t *)copyin(this->w_iov, 8)
            : this->w_call == SYS_recvfrom || this->w_call == SYS_read ? uregs[REG_1] : 0;
        this->w_size = (int)args[1];
}

/* 62 Received */
rawtp:::sock_recv_length
/this->w_data != 0/
{
        trace(62); trace(timestamp); trace(tid); trace((uint64_t)args[0]); trace(args[0]->sk_protocol);
        trace(args[2]); trace(this->w_size);
        tracemem(copyin(this->w_data, this->w_size < 1232 ? this->w_size : 1232), 1232);
}

/* 63 WireError: neither "try again" (11) nor "interrupted" (4, 512) */
rawtp:::sock_send_length, rawtp:::sock_recv_length
/this->w_port == 0x3500 && args[1] < 0 && args[1] != -11 && args[1] != -4 && args[1] != -512/
{
        trace(63); trace(timestamp); trace(tid); trace((uint64_t)args[0]); trace(args[1]);
}

/* 66 Leaves: who has asked ends */
rawtp:::sched_process_exit
/self->w_asks != 0/
{
        trace(66); trace(timestamp); trace(tid);
        self->w_asks = 0;
}

rawtp:::sched_process_exit
/self->w_sock != 0 || self->w_server != 0/
{
        self->w_sock = 0;
        self->w_server = 0;
}
