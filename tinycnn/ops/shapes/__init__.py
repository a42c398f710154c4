"""Operations that move elements without computing, one file per operation and derivative."""
