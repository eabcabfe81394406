/* 21 UdpSent: to a new destination, and each time the count of datagrams has doubled */
rawtp:::sock_send_length
/args[0]->sk_protocol == 17 && this->u_tell/
{
        trace(21); trace(timestamp); trace(tid); trace(this->u_sock); trace(args[1]); trace(this->u_count);
        trace(this->u_name == 0); trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_rcv_saddr); tracemem(&args[0]->__sk_common.skc_v6_rcv_saddr, 16);
        trace(((struct inet_sock *)args[0])->inet_sport);
        trace(this->u_hi); trace(this->u_lo); trace((uint16_t)this->u_port);
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
        this->u_sock = (uint64_t)args[0];
        this->u_skb = args[0]->sk_receive_queue.prev;
        this->u_ip = (unsigned char *)(this->u_skb->head + this->u_skb->network_header);
        this->u_port = *(uint16_t *)(this->u_skb->head + this->u_skb->transport_header);
        this->u_six = this->u_ip[0] >> 4 == 6;
        this->u_hi = this->u_six ? *(uint64_t *)(this->u_ip + 8) : 0;
        this->u_lo = this->u_six ? *(uint64_t *)(this->u_ip + 16)
            : ((uint64_t)*(uint32_t *)(this->u_ip + 12) << 32 | 0xffff0000);
        this->u_key = ((this->u_hi * 31 + this->u_lo) * 31 + this->u_port) * 2 + 2;
        this->u_last = udp_to[this->u_sock];
        this->u_tell = (this->u_last & 1) == 0 && udp_from[this->u_sock] != this->u_key;
        if (this->u_tell) {
                udp_from[this->u_sock] = this->u_key;
        }
        if (this->u_last == 0 && args[0]->__sk_common.skc_dport == 0) {
                udp_to[this->u_sock] = timestamp * 2 + 1;
        }
}

/* 22 UdpReceived: from another address than before */
rawtp:::sk_data_ready
/args[0]->sk_protocol == 17 && this->u_tell/
{
        trace(22); trace(timestamp); trace(this->u_sock); trace(this->u_hi); trace(this->u_lo);
        trace((uint16_t)this->u_port);
}

/* 23 UdpClosed: the last descriptor; before Linux 6.13 f_count.counter is 1 then, see parts.py */
syscall::close:entry
{
        this->u_fdt = curthread->files->fdt;
        this->u_file = (uint32_t)arg0 < this->u_fdt->max_fds ? this->u_fdt->fd[(uint32_t)arg0] : (struct file *)0;
        this->u_mode = this->u_file != 0 ? this->u_file->f_inode->i_mode : 0;
        this->u_sk = (this->u_mode & 0xf000) == 0xc000
            ? ((struct socket *)this->u_file->private_data)->sk : (struct sock *)0;
        this->u_sock = this->u_sk != 0 && this->u_sk->sk_protocol == 17 && this->u_file->f_ref.refcnt.counter == 0
            ? (uint64_t)this->u_sk : 0;
}

syscall::close:entry
/this->u_sock != 0 && udp_to[this->u_sock] != 0/
{
        trace(23); trace(timestamp); trace(this->u_sock);
}

syscall::close:entry
/this->u_sock != 0/
{
        udp_to[this->u_sock] = 0;
        udp_count[this->u_sock] = 0;
        udp_from[this->u_sock] = 0;
}

/* A socket may stand where one was whose process ended without closing it. */
syscall::socket:return
/(int)arg0 >= 0/
{
        this->u_fdt = curthread->files->fdt;
        this->u_file = (uint32_t)arg0 < this->u_fdt->max_fds ? this->u_fdt->fd[(uint32_t)arg0] : (struct file *)0;
        this->u_mode = this->u_file != 0 ? this->u_file->f_inode->i_mode : 0;
        this->u_sk = (this->u_mode & 0xf000) == 0xc000
            ? ((struct socket *)this->u_file->private_data)->sk : (struct sock *)0;
        this->u_sock = this->u_sk != 0 && this->u_sk->sk_protocol == 17 ? (uint64_t)this->u_sk : 0;
}

syscall::socket:return
/this->u_sock != 0 && udp_to[this->u_sock] != 0/
{
        udp_to[this->u_sock] = 0;
        udp_from[this->u_sock] = 0;
}

/*
 * 24 UdpIcmp: the message that a datagram could not be delivered, also for a socket that is not told
 * because it is not connected (udp(7)).  ICMP type 3 in IPv4 (protocol 1), 1 in IPv6 (58), with the
 * header of the datagram.
 */
rawtp:::netif_receive_skb
/args[0]->protocol == 0x0008 && args[0]->data[9] == 1/
{
        this->u_icmp = args[0]->data + ((args[0]->data[0] & 15) << 2);
        this->u_ip = this->u_icmp + 8;
        this->u_udp = this->u_ip + ((this->u_ip[0] & 15) << 2);
        if (this->u_icmp[0] == 3 && this->u_ip[9] == 17) {
                trace(24); trace(timestamp); trace(args[0]->dev->nd_net.net->ns.inum); trace(0);
                trace(this->u_icmp[1]); trace((uint64_t)0);
                trace((uint64_t)*(uint32_t *)(this->u_ip + 16) << 32 | 0xffff0000);
                trace(*(uint16_t *)this->u_udp); trace(*(uint16_t *)(this->u_udp + 2));
        }
}

rawtp:::netif_receive_skb
/args[0]->protocol == 0xdd86 && args[0]->data[6] == 58/
{
        this->u_icmp = args[0]->data + 40;
        this->u_ip = this->u_icmp + 8;
        if (this->u_icmp[0] == 1 && this->u_ip[6] == 17) {
                trace(24); trace(timestamp); trace(args[0]->dev->nd_net.net->ns.inum); trace(1);
                trace(this->u_icmp[1]); trace(*(uint64_t *)(this->u_ip + 24)); trace(*(uint64_t *)(this->u_ip + 32));
                trace(*(uint16_t *)(this->u_ip + 40)); trace(*(uint16_t *)(this->u_ip + 42));
        }
}
