/*
 * UNIX sockets; connections/calls.py decodes it.  connect(2) is told by connect.d and tcp.d.  These
 * clauses come before theirs: at the return, self->sock is not set any more behind them.
 */

/* 31 UnixPeer: who called listen(2), by the pid in the first process-id namespace; and our own name */
syscall::connect:return
/self->sock > 1 && (int)arg0 == 0 && ((struct sock *)self->sock)->__sk_common.skc_family == 1/
{
        this->x_peer = ((struct sock *)self->sock)->sk_peer_pid;
        this->x_addr = ((struct unix_sock *)self->sock)->addr;
        trace(31); trace(tid); trace(this->x_peer != 0 ? this->x_peer->numbers[0].nr : 0);
        trace(this->x_addr != 0 ? this->x_addr->len : 0);
        tracemem(this->x_addr != 0 ? (uint64_t)&this->x_addr->name[0] : self->sock, 110);
}
