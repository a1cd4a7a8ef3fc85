"""What flows through the compiler: programs, their graphs, ledgers, and what is known of them."""
