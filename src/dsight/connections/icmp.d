/* 11 Icmp: this host itself says that a packet of a socket cannot be delivered.  Kernels from 6.10. */
rawtp:::icmp_send
/args[0]->sk != 0/
{
        trace(11); trace(timestamp); trace((uint64_t)args[0]->sk); trace(args[1]); trace(args[2]);
}
