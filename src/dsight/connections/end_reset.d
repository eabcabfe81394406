/*
 * A reset comes before the first byte did, and before this side has closed: state 1 ESTABLISHED,
 * 8 CLOSE_WAIT.  A FIN counts as a byte received; flag 1 is SOCK_DONE: it came.
 */
rawtp:::tcp_receive_reset
{
        this->was = (int)args[0]->__sk_common.skc_state;
        this->received = ((struct tcp_sock *)args[0])->bytes_received - (args[0]->__sk_common.skc_flags >> 1 & 1);
        this->end = this->received == 0 && (this->was == 1 || this->was == 8)
            ? (struct sock *)args[0] : (struct sock *)0;
        this->err = 104;
}

