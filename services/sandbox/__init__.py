"""A simulated acquirer: approves, declines and loses answers as its tokens say, and keeps a ledger of its own."""
