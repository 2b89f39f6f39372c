"""Everything that can be killed, cut or filled: one test a failure, and a soak of all of them."""
