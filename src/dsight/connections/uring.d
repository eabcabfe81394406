/*
 * connect by io_uring, which makes no system call.  The file is looked up when the request is issued,
 * later than this; flag 1, REQ_F_FIXED_FILE: it is one of the ring's own, and not known here.
 */

/* 43 UringConnect */
rawtp:::io_uring_submit_req
/args[0]->opcode == 16/
{
        this->fd = (uint32_t)args[0]->cqe.fd;
        this->fdt = curthread->files->fdt;
        this->file = (args[0]->flags & 1) == 0 && this->fd < this->fdt->max_fds
            ? this->fdt->fd[this->fd] : (struct file *)0;
        this->mode = this->file != 0 ? this->file->f_inode->i_mode : 0;
        this->sk = (this->mode & 0xf000) == 0xc000 ? ((struct socket *)this->file->private_data)->sk : (struct sock *)0;
        trace(43); trace(timestamp); trace(tid); trace((uint64_t)args[0]); trace((uint64_t)this->sk);
        trace((args[0]->flags & 1) != 0); trace(this->sk != 0 ? this->sk->sk_protocol : 0);
        trace(this->sk != 0 ? this->sk->__sk_common.skc_family : 0); trace(this->file != 0 ? this->file->f_flags : 0);
        trace(curthread->nsproxy->net_ns->ns.inum);
}

/* 44 UringPeer: the sockaddr, in user memory */
rawtp:::io_uring_submit_req
/args[0]->opcode == 16/
{
        this->connect = (struct io_connect *)&args[0]->cmd;
        this->size = this->connect->addr_len;
        trace(44); trace((uint64_t)args[0]); trace(this->size);
        tracemem(copyin((uint64_t)this->connect->addr, this->size < 0 ? 0 : this->size < 28 ? this->size : 28), 28);
}

/* 45 UringDone */
rawtp:::io_uring_complete
/args[1] != 0 && ((struct io_kiocb *)args[1])->opcode == 16/
{
        trace(45); trace(timestamp); trace((uint64_t)args[1]); trace(((struct io_kiocb *)args[1])->cqe.res);
}

