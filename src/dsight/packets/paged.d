/* Bytes in pages (struct skb_shared_info): of the first piece, which follow the headers; those of the others follow
   them (script.py).  How long a piece is and where in its page stands behind the page; a lowest bit of 1 says that it is
   no memory of ours (struct net_iov). */
ip:::send, ip:::receive
/this->take && this->skb->data_len != 0 && this->have <= HEADERS && this->have < SNAP/
{
	this->pieces = (struct skb_shared_info *)(this->skb->head + this->skb->end);
	this->count = this->pieces->nr_frags;
	this->left = this->wire < SNAP ? this->wire - this->have : SNAP - this->have;
	this->piece = (uint64_t *)&this->pieces->frags[0];
	this->part = this->count == 0 || (this->piece[0] & 1) ? 0 :
		(uint32_t)this->piece[1] < this->left ? (uint32_t)this->piece[1] : this->left;
	this->paged = (unsigned char *)((this->piece[0] << 6) + PAGES + (this->piece[1] >> 32));
	this->left = this->left - this->part;
}
