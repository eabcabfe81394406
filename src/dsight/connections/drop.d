/*
 * 42 Drop: this host drops a SYN, or the answer to one, for a reason of REASON (drops.py); the answer's
 * ends are its own.  A SYN without a socket is of interest if it came from here: by loopback (8:
 * IFF_LOOPBACK) or a device made of software, such as a container's; those of others are left out.
 * Protocols IPv4, IPv6; a TCP header's flags are octet 13: 2 SYN, 0x10 ACK.
 */
rawtp:::kfree_skb
/(args[0]->protocol == 0x0008 || args[0]->protocol == 0xdd86) && REASON != 0/
{
        this->ip = (unsigned char *)(args[0]->head + args[0]->network_header);
        this->six = args[0]->protocol == 0xdd86;
        this->th = (unsigned char *)(args[0]->head + args[0]->transport_header);
        this->flags = this->ip[this->six ? 6 : 9] == 6 ? this->th[13] & 0x12 : 0;
        this->dev = args[0]->dev;
        if (this->flags == 0x12 || this->flags == 2 && (args[0]->sk != 0 || this->dev != 0
            && ((this->dev->flags & 8) != 0 || this->dev->rtnl_link_ops != 0))) {
                trace(42); trace(timestamp); trace(this->flags == 2 ? (uint64_t)args[0]->sk : 0); trace(REASON);
                trace(this->flags == 0x12); trace(this->six); tracemem(this->ip, 40); tracemem(this->th, 4);
                trace(this->dev != 0 ? this->dev->nd_net.net->ns.inum
                    : args[0]->sk != 0 ? args[0]->sk->__sk_common.skc_net.net->ns.inum : 0);
        }
}

