/* The characters that stand for bytes in the vocabulary of a byte-level model. */
#ifndef MU_DATASET_BYTE_SYMBOLS_H
#define MU_DATASET_BYTE_SYMBOLS_H

#include <stdint.h>

/* The code point that stands for a byte, and back (-1: none). */
uint32_t mu_symbol_of_byte(unsigned char byte);
int mu_byte_of_symbol(uint32_t c);

#endif
