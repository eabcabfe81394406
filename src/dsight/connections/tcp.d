/*
 * connect(2), and what becomes of TCP's: states 1 established, 2 SYN sent, 3 SYN received, 7 closed.
 * kernel_filter.py fills in WATCHED and ASIDE; call.d says what this->mark and this->call are.
 */

/* 3 Enter, of other protocols than TCP */
syscall::connect:entry
/this->sock > 1 && !this->later/
{
        this->sk = (struct sock *)this->sock;
        this->socket = this->sk->sk_socket;
        trace(3); trace(timestamp); trace(tid); trace((int)arg0); trace(this->sock); trace(this->socket->state);
        trace(this->sk->sk_protocol); trace(this->sk->__sk_common.skc_family); trace(this->socket->file->f_flags);
        trace(this->sk->__sk_common.skc_net.net->ns.inum);
}

/* 4 Peer: the sockaddr; sockaddr_in6 takes 28 bytes */
syscall::connect:entry
/this->sock != 0 && !this->later/
{
        this->size = (int)arg2;
        trace(4); trace(tid); trace(this->size);
        tracemem(copyin(arg1, this->size < 0 ? 0 : this->size < 28 ? this->size : 28), 28);
}

/* 5 Leave */
syscall::connect:return
/this->sock != 0 && this->entered == 0/
{
        trace(5); trace(timestamp); trace(tid); trace((int)arg0);
}

/*
 * 15 Failed: connect(2) of TCP, or on what is no socket, fails and has sent nothing.  The sockaddr is
 * read if the kernel could: EFAULT 14.
 */
syscall::connect:return
/this->call/
{
        this->sk = this->sock > 1 ? (struct sock *)this->sock : (struct sock *)0;
        this->given = uregs[REG_2];
        this->size = this->ret == -14 || this->given > 128 ? 0 : (int)this->given;
        trace(15); trace(this->entered); trace(timestamp); trace(tid); trace(pid); trace(this->ret);
        trace((uint64_t)this->sk); trace(this->sk != 0 ? this->sk->sk_protocol : 0);
        trace(this->sk != 0 ? this->sk->__sk_common.skc_family : 0);
        trace(this->sk != 0 ? this->sk->sk_socket->file->f_flags : 0);
        trace(this->sk != 0 ? this->sk->__sk_common.skc_net.net->ns.inum : curthread->nsproxy->net_ns->ns.inum);
        trace(uid); tracemem(&curthread->group_leader->comm, 16); trace(this->size);
        tracemem(copyin(uregs[REG_1], this->size < 28 ? this->size : 28), 28);
}

/*
 * 16 Returned: connect(2) returns while its attempt is open, or was closed within the call.  Is it open, and
 * the socket not in SYN_SENT any more, then State was missed: it came while the same program ran on its CPU.
 */
syscall::connect:return
/this->syn != 0 && !this->busy/
{
        this->open = watched[this->syn];
        this->told = this->open != 0 || self->undone != 0;
}

syscall::connect:return
/this->told/
{
        trace(16); trace(timestamp); trace(this->syn); trace(this->entered); trace(this->ret);
        trace(((struct sock *)this->syn)->__sk_common.skc_state);
}

syscall::connect:return
/this->open != 0 && ((struct sock *)this->syn)->__sk_common.skc_state != 2/
{
        watched[this->syn] = 0;
}

syscall::connect:return
/this->sock != 0 || this->entered != 0/
{
        self->sock = 0;
        if (this->entered != 0) {
                self->entered = 0;
        }
        if (this->syn != 0) {
                self->syn = 0;
                self->undone = 0;
        }
}

/* 14 Connect: connect(2) sends its SYN */
rawtp:::inet_sock_set_state
/this->call/
{
        this->sk = (struct sock *)this->sock;
        trace(14); trace(this->mark); trace(tid); trace((uint64_t)args[0]); trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_rcv_saddr); trace(args[0]->__sk_common.skc_daddr);
        tracemem(&args[0]->__sk_common.skc_v6_rcv_saddr, 16); tracemem(&args[0]->__sk_common.skc_v6_daddr, 16);
        trace(((struct inet_sock *)args[0])->inet_sport); trace(args[0]->__sk_common.skc_dport);
        trace(args[0]->__sk_common.skc_net.net->ns.inum);
        trace(pid); trace(uid); tracemem(&curthread->group_leader->comm, 16);
        trace(this->sk->sk_protocol); trace(this->sk->sk_socket->file->f_flags);
}

rawtp:::inet_sock_set_state
/this->call/
{
        self->syn = (uint64_t)args[0];
}

/* 6 SynSent, without connect(2) */
rawtp:::inet_sock_set_state
/this->mark != 0 && args[2] == 2 && !this->call/
{
        trace(6); trace(this->mark); trace(tid); trace((uint64_t)args[0]); trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_rcv_saddr); trace(args[0]->__sk_common.skc_daddr);
        tracemem(&args[0]->__sk_common.skc_v6_rcv_saddr, 16); tracemem(&args[0]->__sk_common.skc_v6_daddr, 16);
        trace(((struct inet_sock *)args[0])->inet_sport); trace(args[0]->__sk_common.skc_dport);
        trace(args[0]->__sk_common.skc_net.net->ns.inum);
        trace((((struct tcp_sock *)args[0])->fastopen_req != 0) | (MPTCP) << 1 | (ASIDE) << 2);
}

/*
 * 7 State: SYN_RECV with a socket is a simultaneous open; without one, somebody connecting to us.  Flag 1:
 * a segment has come, which makes a refusal one by a reset; flag 2: inside the connect(2) of the attempt.
 */
rawtp:::inet_sock_set_state
/this->mark != 0 && args[2] != 2/
{
        trace(7); trace(timestamp); trace((uint64_t)args[0]); trace(this->mark); trace(args[1]); trace(args[2]);
        trace(args[0]->sk_err); trace(args[0]->sk_err_soft);
        trace((((struct tcp_sock *)args[0])->segs_in != 0) | (this->syn == (uint64_t)args[0]) << 1);
        trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_rcv_saddr); tracemem(&args[0]->__sk_common.skc_v6_rcv_saddr, 16);
        trace(((struct inet_sock *)args[0])->inet_sport);
}

rawtp:::inet_sock_set_state
/this->mark != 0 && args[2] == 7 && args[1] == 2 && this->syn == (uint64_t)args[0] && args[0]->sk_err == 0/
{
        self->undone = 1;
}

/* 8 SockError: the attempt fails */
rawtp:::inet_sk_error_report
/args[0]->sk_protocol == 6 && args[0]->__sk_common.skc_state == 2 && args[0]->sk_err != 0
    && WATCHED/
{
        trace(8); trace(timestamp); trace((uint64_t)args[0]); trace(args[0]->sk_err); trace(0);
}

/*
 * 8 SockError: an ICMP message came, and the attempt goes on.  Its errno is in the newest entry of
 * the error queue (struct sock_exterr_skb is what an sk_buff's cb holds there); in sk_err_soft it
 * comes later, and getsockopt(SO_ERROR) takes it away.  Origin 2: ICMP, 3: ICMPv6.
 */
rawtp:::inet_sk_error_report
/args[0]->sk_protocol == 6 && args[0]->__sk_common.skc_state == 2 && args[0]->sk_err == 0
    && args[0]->sk_error_queue.qlen != 0 && WATCHED/
{
        this->error = &((struct sock_exterr_skb *)&args[0]->sk_error_queue.prev->cb[0])->ee;
        trace(8); trace(timestamp); trace((uint64_t)args[0]); trace(0);
        trace(this->error->ee_origin == 2 || this->error->ee_origin == 3 ? (int)this->error->ee_errno : 0);
}

/* 9 Retransmit; RESULT: of sending, 0 on kernels before 6.15, which do not say: see script.py */
rawtp:::tcp_retransmit_skb
/args[0]->__sk_common.skc_state == 2 && WATCHED/
{
        trace(9); trace(timestamp); trace((uint64_t)args[0]); trace(RESULT);
}
