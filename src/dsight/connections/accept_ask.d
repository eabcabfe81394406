/* --accepted: self->accepted is the socket accepted in this firing, 0 for none. */

syscall::accept:return, syscall::accept4:return
{
        this->fdt = curthread->files->fdt;
        this->file = (int)arg0 >= 0 && (uint32_t)arg0 < this->fdt->max_fds
            ? this->fdt->fd[(uint32_t)arg0] : (struct file *)0;
        this->mode = this->file != 0 ? this->file->f_inode->i_mode : 0;
        this->sk = (this->mode & 0xf000) == 0xc000 ? ((struct socket *)this->file->private_data)->sk : (struct sock *)0;
        this->protocol = this->sk != 0 ? this->sk->sk_protocol : 0;
        self->accepted = this->protocol == 6 || this->protocol == 262 ? (uint64_t)this->sk : 0;
        this->who = self->accepted != 0;
}

