/* 21 UdpSent: to a new destination, and each time the count of datagrams has doubled */
rawtp:::sock_send_length
/args[0]->sk_protocol == 17 && this->tell/
{
        trace(21); trace(timestamp); trace(tid); trace(this->sock); trace(args[1]); trace(this->count);
        trace(this->name == 0); trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_rcv_saddr); tracemem(&args[0]->__sk_common.skc_v6_rcv_saddr, 16);
        trace(((struct inet_sock *)args[0])->inet_sport);
        trace(this->hi); trace(this->lo); trace((uint16_t)this->port);
        trace(args[0]->__sk_common.skc_net.net->ns.inum); trace(self->at);
}

syscall::sendto:return
/self->to != 0/
{
        self->to = 0;
        self->at = 0;
}

syscall::sendmsg:return, syscall::sendmmsg:return
{
        self->msgs = 0;
        self->at = 0;
}

/* The newest datagram is the last of the queue. */
rawtp:::sk_data_ready
/args[0]->sk_protocol == 17/
{
        this->sock = (uint64_t)args[0];
        this->skb = args[0]->sk_receive_queue.prev;
        this->ip = (unsigned char *)(this->skb->head + this->skb->network_header);
        this->port = *(uint16_t *)(this->skb->head + this->skb->transport_header);
        this->six = this->ip[0] >> 4 == 6;
        this->hi = this->six ? *(uint64_t *)(this->ip + 8) : 0;
        this->lo = this->six ? *(uint64_t *)(this->ip + 16) : ((uint64_t)*(uint32_t *)(this->ip + 12) << 32 | 0xffff0000);
        this->key = ((this->hi * 31 + this->lo) * 31 + this->port) * 2 + 2;
        this->last = udp_to[this->sock];
        this->tell = (this->last & 1) == 0 && udp_from[this->sock] != this->key;
        if (this->tell) {
                udp_from[this->sock] = this->key;
        }
        if (this->last == 0 && args[0]->__sk_common.skc_dport == 0) {
                udp_to[this->sock] = timestamp * 2 + 1;
        }
}

/* 22 UdpReceived: from another address than before */
rawtp:::sk_data_ready
/args[0]->sk_protocol == 17 && this->tell/
{
        trace(22); trace(timestamp); trace(this->sock); trace(this->hi); trace(this->lo); trace((uint16_t)this->port);
}

/* 23 UdpClosed: the last descriptor; before Linux 6.13 f_count.counter is 1 then, see parts.py */
syscall::close:entry
{
        this->fdt = curthread->files->fdt;
        this->file = (uint32_t)arg0 < this->fdt->max_fds ? this->fdt->fd[(uint32_t)arg0] : (struct file *)0;
        this->mode = this->file != 0 ? this->file->f_inode->i_mode : 0;
        this->sk = (this->mode & 0xf000) == 0xc000 ? ((struct socket *)this->file->private_data)->sk : (struct sock *)0;
        this->sock = this->sk != 0 && this->sk->sk_protocol == 17 && this->file->f_ref.refcnt.counter == 0
            ? (uint64_t)this->sk : 0;
}

syscall::close:entry
/this->sock != 0 && udp_to[this->sock] != 0/
{
        trace(23); trace(timestamp); trace(this->sock);
}

syscall::close:entry
/this->sock != 0/
{
        udp_to[this->sock] = 0;
        udp_count[this->sock] = 0;
        udp_from[this->sock] = 0;
}

/* A socket may stand where one was whose process ended without closing it. */
syscall::socket:return
/(int)arg0 >= 0/
{
        this->fdt = curthread->files->fdt;
        this->file = (uint32_t)arg0 < this->fdt->max_fds ? this->fdt->fd[(uint32_t)arg0] : (struct file *)0;
        this->mode = this->file != 0 ? this->file->f_inode->i_mode : 0;
        this->sk = (this->mode & 0xf000) == 0xc000 ? ((struct socket *)this->file->private_data)->sk : (struct sock *)0;
        this->sock = this->sk != 0 && this->sk->sk_protocol == 17 ? (uint64_t)this->sk : 0;
}

syscall::socket:return
/this->sock != 0 && udp_to[this->sock] != 0/
{
        udp_to[this->sock] = 0;
        udp_from[this->sock] = 0;
}

/*
 * 24 UdpIcmp: the message that a datagram could not be delivered, also for a socket that is not told
 * because it is not connected (udp(7)).  ICMP type 3 in IPv4 (protocol 1), 1 in IPv6 (58), with the
 * header of the datagram.
 */
rawtp:::netif_receive_skb
/args[0]->protocol == 0x0008 && args[0]->data[9] == 1/
{
        this->icmp = args[0]->data + ((args[0]->data[0] & 15) << 2);
        this->ip = this->icmp + 8;
        this->udp = this->ip + ((this->ip[0] & 15) << 2);
        if (this->icmp[0] == 3 && this->ip[9] == 17) {
                trace(24); trace(timestamp); trace(args[0]->dev->nd_net.net->ns.inum); trace(0);
                trace(this->icmp[1]); trace((uint64_t)0);
                trace((uint64_t)*(uint32_t *)(this->ip + 16) << 32 | 0xffff0000);
                trace(*(uint16_t *)this->udp); trace(*(uint16_t *)(this->udp + 2));
        }
}

rawtp:::netif_receive_skb
/args[0]->protocol == 0xdd86 && args[0]->data[6] == 58/
{
        this->icmp = args[0]->data + 40;
        this->ip = this->icmp + 8;
        if (this->icmp[0] == 1 && this->ip[6] == 17) {
                trace(24); trace(timestamp); trace(args[0]->dev->nd_net.net->ns.inum); trace(1);
                trace(this->icmp[1]); trace(*(uint64_t *)(this->ip + 24)); trace(*(uint64_t *)(this->ip + 32));
                trace(*(uint16_t *)(this->ip + 40)); trace(*(uint16_t *)(this->ip + 42));
        }
}
