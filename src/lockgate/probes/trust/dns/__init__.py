"""DNS: questions and answers as octets, the servers that are asked, and what is remembered."""
