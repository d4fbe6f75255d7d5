"""The hosted pages in real Chromium, with and without JavaScript, on a phone and a desktop."""
