"""The native CPU decode path: C++ that is built once and used where the library is there."""
