/* Who is running, for the clauses before that set this->who. */

/* 1 Who */
syscall::connect:entry, syscall::connect:return, rawtp:::inet_sock_set_state
/this->who/
{
        this->leader = curthread->group_leader;
        trace(1); trace(timestamp); trace(tid); trace(pid); trace(stringof(this->leader->comm)); trace(uid);
        trace(this->leader->start_boottime); trace(curthread->cgroups->dfl_cgrp->kn->id);
        trace(curthread->flags); trace((curthread->io_uring != 0) | (COMPAT) << 1);
        this->p = curthread->real_parent;
        trace(this->p->tgid); trace(stringof(this->p->group_leader->comm));
        this->p = this->p->real_parent;
        trace(this->p->tgid); trace(stringof(this->p->group_leader->comm));
        this->p = this->p->real_parent;
        trace(this->p->tgid); trace(stringof(this->p->group_leader->comm));
        this->p = this->p->real_parent;
        trace(this->p->tgid); trace(stringof(this->p->group_leader->comm));
        this->p = this->p->real_parent;
        trace(this->p->tgid); trace(stringof(this->p->group_leader->comm));
        this->p = this->p->real_parent;
        trace(this->p->tgid); trace(stringof(this->p->group_leader->comm));
}

/* 2 Args: the argument area, strings ended by NULs */
syscall::connect:entry, syscall::connect:return, rawtp:::inet_sock_set_state
/this->who && curthread->mm != 0/
{
        this->size = (int)(curthread->mm->arg_end - curthread->mm->arg_start);
        trace(2); trace(tid); trace(this->size);
        tracemem(copyin(curthread->mm->arg_start, this->size < 512 ? this->size : 512), 512);
}
