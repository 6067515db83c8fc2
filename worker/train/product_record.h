/*
 * The ways of a run's products (kernels/products.h), kept in RUN/products.tsv so that every start computes with the
 * same bits. A line is
 *
 *     DEVICE  operation  type  rows  in  out  way  rate          tabs between; rate: GFLOP/s, for people
 *
 * with DEVICE as mu_device_t.description has it: "cpu, 2 threads, avx512, oneDNN 2.6.3", "cuda, NVIDIA H200, CUDA 13.0,
 * cuBLASLt 130100". Of two lines of one product the later one counts. A line of another device, or with a way that this
 * program does not have, counts for nothing.
 */
#ifndef MU_WORKER_PRODUCT_RECORD_H
#define MU_WORKER_PRODUCT_RECORD_H

#include "common/buf.h"
#include "kernels/products.h"
#include "worker/model/net.h"

#define MU_PRODUCT_RECORD "products.tsv"

/* The device takes the way of each product that the text has a line for. How many of the list it has none for: these
 * come first in the list then, the others after them. */
int mu_product_record_take(const char *text, mu_device_t *dev, mu_product_t *list, int n);
/* Adds the lines of the products, as they are in the list. */
void mu_product_record_add(mu_buf_t *text, const mu_device_t *dev, const mu_product_t *list, int n);

/* muster.tune: auto. The net's products are computed in the ways that DIR/products.tsv has. What it lacks is measured
 * before, on the first worker of each kind of device, while the others wait, and added. All `workers` call it, before
 * the first step. Errors: MU_IO, MU_NOINPUT, MU_DATA (the file), MU_NETWORK. */
mu_status_t mu_product_record_follow(mu_comm_t *workers, const char *dir, mu_net_t *net);

#endif
