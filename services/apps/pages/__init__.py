"""The pages for people: sign in, approve an app, see what is installed. Plain HTML that works without JavaScript."""
