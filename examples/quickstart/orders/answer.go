package orders

// Order is the answer to GET /orders/:id.
type Order struct {
	ID        string `json:"id"`
	Instance  string `json:"instance"`
	RequestID string `json:"request_id"`
	User      Part   `json:"user"`
	Item      Part   `json:"item"`
	// Promo is left out when promo cannot tell: an order is worth more than a
	// discount. Why is in PromoError.
	Promo      *Part  `json:"promo,omitempty"`
	PromoError string `json:"promo_error,omitempty"`
}

// Part is what users, catalog or promo answer.
type Part struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`    // of a user
	Title     string `json:"title,omitempty"`   // of an item
	Percent   int    `json:"percent,omitempty"` // of a promotion
	Instance  string `json:"instance"`
	RequestID string `json:"request_id"`
}
