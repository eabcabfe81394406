/* --closed: every end of an established connection.  States 1 to 11 without 2, 3, 7, 10: it stands. */
rawtp:::inet_sock_set_state
{
        this->end = args[2] == 7 && (0xb72 >> args[1] & 1) != 0 && args[0]->sk_protocol == 6
            ? (struct sock *)args[0] : (struct sock *)0;
        this->was = args[1];
        this->err = args[0]->sk_err;
}

