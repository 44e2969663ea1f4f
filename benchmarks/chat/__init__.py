"""What the shipped model replies to questions that nobody trained on, judged one by one."""
