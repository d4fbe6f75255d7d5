"""The rules of payment intents: what a wish, an order's reply or a processor's answer changes, and what follows."""
