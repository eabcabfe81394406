/* IORING_OP_CONNECT (16) is submitted. */
rawtp:::io_uring_submit_req
/args[0]->opcode == 16/
{
        this->who = 1;
}

