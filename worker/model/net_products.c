/* The matrix products of a training step. */
#include "kernels/products.h"
#include "worker/model/net_impl.h"

typedef struct products {
    const mu_net_t *net;
    mu_product_t *list;
    int n;
} products_t;

/* Once each; what goes beyond the list is left out, and computed in the default way. */
static void add(products_t *p, mu_product_op_t op, int64_t rows, int64_t in, int64_t out)
{
    mu_product_t one = {.op = op, .type = p->net->flat.weight.type, .rows = rows, .in = in, .out = out};
    for (int i = 0; i < p->n; i++)
        if (p->list[i].op == op && p->list[i].rows == rows && p->list[i].in == in && p->list[i].out == out)
            return;
    if (p->n < MU_PRODUCTS)
        p->list[p->n++] = one;
}

/* A layer whose weights are `w`, there and back. */
static void layer(products_t *p, const mu_net_param_t *w, mu_product_op_t forward, mu_product_op_t backward,
                  int64_t rows, int64_t in, int64_t out)
{
    add(p, forward, rows, in, out);
    add(p, backward, rows, in, out);
    if (w->gradient)
        add(p, MU_PRODUCT_BACKWARD_WEIGHT, rows, in, out);
}

static void plain(products_t *p, const mu_net_param_t *w, int64_t rows, int64_t in, int64_t out)
{
    layer(p, w, MU_PRODUCT_FORWARD, MU_PRODUCT_BACKWARD_INPUT, rows, in, out);
}

int mu_net_products(const mu_net_t *net, mu_product_t *list)
{
    products_t p = {.net = net, .list = list};
    const mu_layer_params_t *l = &net->layer[0];
    int64_t rows = net->rows, h = net->model.hidden, last = rows % net->chunk;
    plain(&p, net->embed_out, rows < net->chunk ? rows : net->chunk, h, net->vocab);
    if (last > 0)
        plain(&p, net->embed_out, last, h, net->vocab);
    if (mu_model_gated(&net->model) || l->lora_a[MU_LORA_FC1])
        plain(&p, l->fc1_w, rows, h, net->ffn);
    else
        layer(&p, l->fc1_w, MU_PRODUCT_GELU_FORWARD, MU_PRODUCT_BACKWARD_INPUT, rows, h, net->ffn);
    if (mu_model_gated(&net->model) || l->lora_a[MU_LORA_FC2])
        plain(&p, l->fc2_w, rows, net->ffn, h);
    else
        layer(&p, l->fc2_w, MU_PRODUCT_FORWARD, MU_PRODUCT_GELU_BACKWARD_INPUT, rows, net->ffn, h);
    plain(&p, l->qkv_w, rows, h, net->qkv);
    plain(&p, l->dense_w, rows, net->width, h);
    return p.n;
}
