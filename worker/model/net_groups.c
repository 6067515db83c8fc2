/* The groups of parameters, and who wants to know when backward is done with one or forward needs one. */
#include "worker/model/net_impl.h"

int mu_net_group_count(const mu_net_t *net)
{
    return 2 * (int)net->model.layers + 2;
}

void mu_net_on_whole(mu_net_t *net, mu_net_whole_t whole, void *arg)
{
    net->whole = whole;
    net->whole_arg = arg;
}

mu_status_t mu_net_group_whole(mu_net_t *net, int group)
{
    return net->whole ? net->whole(net->whole_arg, group) : MU_OK;
}

void mu_net_on_need(mu_net_t *net, mu_net_need_t need, void *arg)
{
    net->need = need;
    net->need_arg = arg;
}

mu_status_t mu_net_group_need(mu_net_t *net, int group)
{
    return net->need ? net->need(net->need_arg, group) : MU_OK;
}
