/*
 * connect(2) of TCP leaves one record where its SYN is sent, and another where the socket decides.
 * Who called is recorded where it is news.
 *
 * self->entered  when connect(2) was called, while it is under way
 * self->syn      the socket that sent its SYN: for MPTCP, not that of the call
 * self->undone   1: that socket was closed within the call, and without an error
 * watched[sock]  since when an attempt is open: when connect(2) was called, or the SYN sent without it;
 *                kernel_filter.py sets it, and takes it away at the end
 * known[slot]    which thread was recorded last, as it was then, mixed into a number; again after 2^27 ns
 * this->syn, this->entered   the two of self, where this firing may want them
 * this->mark     watched[] of the socket, where this firing matters (also kernel_filter.py)
 * this->call     a call has come to where it is told: its SYN is sent, or it failed before that
 * @attempts      how many attempts there were, told or lost
 */
uint64_t known[uint32_t];

/* this->sock 1: not a socket.  this->later: it is told when its SYN is sent, or the call returns */
syscall::connect:entry
{
        self->sock = this->sock;
        this->later = this->sock != 0 && (this->tcp || this->sock == 1);
        if (this->later) {
                this->who = 0;
                self->entered = timestamp;
        }
}

rawtp:::inet_sock_set_state
/this->near && this->mark == 0 && (args[1] != 3 || args[0]->sk_socket != 0)/
{
        this->mark = watched[(uint64_t)args[0]];
        this->syn = this->mark != 0 ? self->syn : 0;
}

rawtp:::inet_sock_set_state
/this->mark != 0 && args[2] == 2/
{
        this->call = this->syn == 0 && this->entered != 0;
}

/* EINPROGRESS 115, EALREADY 114 */
syscall::connect:return
{
        this->ret = (int)arg0;
        this->busy = this->ret == -115 || this->ret == -114;
        this->entered = self->entered;
        this->syn = self->syn;
        this->call = this->entered != 0 && this->syn == 0 && this->ret != 0 && !this->busy;
}

syscall::connect:return
/this->call/
{
        @attempts = count();
}

syscall::connect:return, rawtp:::inet_sock_set_state
/this->call/
{
        this->leader = curthread->group_leader;
        this->name = (uint64_t *)&this->leader->comm[0];
        this->sign = ((tid * 31 + this->leader->start_boottime) * 31 + curthread->self_exec_id) * 31 + uid;
        this->sign = ((this->sign * 31 + this->name[0]) * 31 + this->name[1]) * 31 + curthread->real_parent->tgid;
        this->sign = ((this->sign * 31 + curthread->cgroups->dfl_cgrp->kn->id) * 31 + (timestamp >> 27)) * 2 + 1;
        this->who = known[(uint32_t)tid & 1023] != this->sign;
        if (this->who) {
                known[(uint32_t)tid & 1023] = this->sign;
        }
}

