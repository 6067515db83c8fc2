/*
 * Dropout: which number an element has, and what its draw follows from.
 *
 * Rows are numbered within the global batch, by sample and position, and columns within the whole layer: neither knows
 * the layout or the accumulation. A step, a layer and a kind each have draws of their own.
 */
#include "worker/model/net_impl.h"

enum { KIND_BITS = 8 };
_Static_assert(MU_DROP_LORA + MU_LORA_TARGETS <= 1 << KIND_BITS, "a kind has too few bits");

void mu_net_draw(mu_net_t *net, const mu_net_draw_t *draw)
{
    net->draw = *draw;
}

static uint64_t place_of(const mu_net_t *net, int64_t l, int kind)
{
    return (uint64_t)net->draw.step << 32 | (uint64_t)l << KIND_BITS | (uint64_t)kind;
}

mu_dropout_t mu_net_dropout(const mu_net_t *net, double rate, int64_t l, int kind, int64_t column,
                            int64_t columns)
{
    return (mu_dropout_t){.rate = rate,
                          .factor = 1 / (1 - rate),
                          .seed = net->draw.seed,
                          .place = place_of(net, l, kind),
                          .first = net->draw.sample * net->seq,
                          .column = column,
                          .columns = columns};
}

mu_dropout_t mu_net_attention_dropout(const mu_net_t *net, int64_t l)
{
    mu_dropout_t d = mu_net_dropout(net, net->model.attention_dropout, l, MU_DROP_ATTENTION,
                                    net->heads * net->tp->rank, net->model.heads);
    d.first = net->draw.sample;
    return d;
}

void mu_net_drop(mu_net_t *net, int64_t l, int kind, mu_array_t y, mu_array_t x, mu_array_t plus)
{
    int64_t h = net->model.hidden;
    mu_dropout_t d = mu_net_dropout(net, net->model.hidden_dropout, l, kind, 0, h);
    net->ops->dropout(net->dev, y, x, plus, net->rows, h, &d);
}
