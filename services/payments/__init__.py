"""The payment service: what channels tell about money, on its way to the order that it belongs to."""
