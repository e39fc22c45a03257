"""What a workflow would have done beside what people did: bookings, figures, and the page of them."""
