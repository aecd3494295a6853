"""What an analysis says, for people: a page in HTML, and a service on this machine that answers with such pages."""
