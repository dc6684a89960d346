"""SPF (RFC 7208): may this address send in the name of this domain?"""
