/*
 * Accepted by io_uring: one submission (IORING_OP_ACCEPT, 13) may have many completions, which are
 * told by ring and user_data only.  file_slot: the socket becomes one of the ring's own, without a
 * descriptor; it is not told.
 *
 * uring_accept[ring, user_data]   1 while such a submission is under way
 */
int uring_accept[uint64_t, uint64_t];

rawtp:::io_uring_submit_req
/args[0]->opcode == 13/
{
        uring_accept[(uint64_t)args[0]->ctx, args[0]->cqe.user_data] =
            ((struct io_accept *)&args[0]->cmd)->file_slot == 0;
}

/* A completion's res is the descriptor; flag 2, IORING_CQE_F_MORE: others will follow. */
rawtp:::io_uring_complete
/args[2] != 0 && uring_accept[(uint64_t)args[0], args[2]->user_data] != 0/
{
        this->fdt = curthread->files->fdt;
        this->file = args[2]->res >= 0 && (uint32_t)args[2]->res < this->fdt->max_fds
            ? this->fdt->fd[(uint32_t)args[2]->res] : (struct file *)0;
        this->mode = this->file != 0 ? this->file->f_inode->i_mode : 0;
        this->sk = (this->mode & 0xf000) == 0xc000 ? ((struct socket *)this->file->private_data)->sk : (struct sock *)0;
        this->protocol = this->sk != 0 ? this->sk->sk_protocol : 0;
        self->accepted = this->protocol == 6 || this->protocol == 262 ? (uint64_t)this->sk : 0;
        this->who = self->accepted != 0;
        if ((args[2]->flags & 2) == 0) {
                uring_accept[(uint64_t)args[0], args[2]->user_data] = 0;
        }
}

