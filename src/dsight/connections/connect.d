/*
 * What the watcher wants of connect(2); connections/events.py decodes it.
 *
 * Every record starts with its tag.  A clause that reads user memory records
 * nothing else, so that a bad address loses that record only.
 *
 * self->sock   address of the socket inside connect(2), 0 outside; 1 for a
 *              descriptor that is not a socket
 * this->sock   the same, once read of the thread's: self->sock is set when the filters have passed it (call.d)
 * this->who    whether this firing is to record who is running: who.d, which comes later
 * this->tcp    TCP (protocol 6), or MPTCP (262)
 *
 * The program is put together by script.py, which fills in WANTED: the sockets whose
 * connect(2) is told.
 */
#pragma D option quiet
#pragma D option scratchsize=2k

self uint64_t sock;
self uint64_t syn; /* these three: call.d */
self uint64_t entered;
self int undone;

/*
 * 0xc000: S_IFSOCK of 0xf000, S_IFMT.  A socket's private_data is its struct socket; in its state 2,
 * SS_CONNECTING, the call asks what came of an attempt made before.
 */
syscall::connect:entry
{
        this->fdt = curthread->files->fdt;
        this->file = (uint32_t)arg0 < this->fdt->max_fds ? this->fdt->fd[(uint32_t)arg0] : (struct file *)0;
        this->mode = this->file != 0 ? this->file->f_inode->i_mode : 0;
        this->sk = (this->mode & 0xf000) == 0xc000 ? ((struct socket *)this->file->private_data)->sk : (struct sock *)0;
        this->protocol = this->sk != 0 ? this->sk->sk_protocol : 0;
        this->tcp = this->protocol == 6 || this->protocol == 262;
        this->again = this->tcp && ((struct socket *)this->file->private_data)->state == 2;
        this->sock = this->again ? 0 : WANTED ? (uint64_t)this->sk : this->sk == 0;
        this->who = this->sock != 0;
}

syscall::connect:return
{
        this->sock = self->sock;
}

/* this->near: a SYN is sent, or its socket decides */
rawtp:::inet_sock_set_state
{
        this->near = args[0]->sk_protocol == 6 && (args[2] == 2 || args[1] == 2 || args[1] == 3);
}

/* A SYN without connect(2): io_uring, sendto(MSG_FASTOPEN), the kernel itself. */
rawtp:::inet_sock_set_state
/this->near && args[2] == 2/
{
        this->sock = self->sock;
        this->syn = self->syn;
        this->entered = self->entered;
        this->who = this->sock == 0 || this->syn != 0;
}
