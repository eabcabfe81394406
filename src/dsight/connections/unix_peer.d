/*
 * UNIX sockets; connections/calls.py decodes it.  connect(2) is told by connect.d and tcp.d.  These
 * clauses come before theirs.
 */

/* 31 UnixPeer: who called listen(2), by the pid in the first process-id namespace; and our own name */
syscall::connect:return
/this->sock > 1 && (int)arg0 == 0 && ((struct sock *)this->sock)->__sk_common.skc_family == 1/
{
        this->x_peer = ((struct sock *)this->sock)->sk_peer_pid;
        this->x_addr = ((struct unix_sock *)this->sock)->addr;
        trace(31); trace(tid); trace(this->x_peer != 0 ? this->x_peer->numbers[0].nr : 0);
        trace(this->x_addr != 0 ? this->x_addr->len : 0);
        tracemem(this->x_addr != 0 ? (uint64_t)&this->x_addr->name[0] : this->sock, 110);
}
