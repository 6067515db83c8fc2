#include "worker/train/product_record.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

enum { FIELDS = 8, LIMIT = 16 << 20 };

/* One line's fields, ended in place; false when it has too few. */
static bool cut(char *line, char *field[FIELDS])
{
    for (int i = 0; i < FIELDS; i++) {
        field[i] = line;
        line = strchr(line, '\t');
        if (!line)
            return i == FIELDS - 1;
        *line++ = '\0';
    }
    return true;
}

static bool is_of(char *const field[FIELDS], const mu_device_t *dev, const mu_product_t *p)
{
    int64_t size[3];
    for (int i = 0; i < 3; i++)
        if (!mu_parse_i64(field[3 + i], &size[i]))
            return false;
    return strcmp(field[0], dev->description) == 0 && strcmp(field[1], mu_product_name(p->op)) == 0 &&
           strcmp(field[2], mu_dtype_name(p->type)) == 0 && size[0] == p->rows && size[1] == p->in &&
           size[2] == p->out;
}

/* Whether the text has a way for the product, which is then taken. */
static bool take(const char *text, mu_device_t *dev, mu_product_t *p)
{
    bool found = false;
    char *copy = mu_strdup(text), *rest = copy, *line, *field[FIELDS];
    while ((line = strsep(&rest, "\n"))) {
        if (!cut(line, field) || !is_of(field, dev, p) || strlen(field[6]) >= sizeof p->way)
            continue;
        snprintf(p->way, sizeof p->way, "%s", field[6]);
        found = dev->ops->take_way(dev, p) || found;
    }
    free(copy);
    return found;
}

int mu_product_record_take(const char *text, mu_device_t *dev, mu_product_t *list, int n)
{
    int lacking = 0;
    for (int i = 0; i < n; i++) {
        mu_product_t p = list[i];
        if (take(text, dev, &p)) {
            list[i] = p;
            continue;
        }
        list[i] = list[lacking];
        list[lacking++] = p;
    }
    return lacking;
}

void mu_product_record_add(mu_buf_t *text, const mu_device_t *dev, const mu_product_t *list, int n)
{
    for (int i = 0; i < n; i++)
        mu_buf_addf(text, "%s\t%s\t%s\t%lld\t%lld\t%lld\t%s\t%.1f\n", dev->description,
                    mu_product_name(list[i].op), mu_dtype_name(list[i].type), (long long)list[i].rows,
                    (long long)list[i].in, (long long)list[i].out, list[i].way, list[i].rate);
}

/* The text of member `root` is added to everybody's; `status` is the root's. */
static mu_status_t spread(mu_comm_t *workers, int root, mu_status_t status, const mu_buf_t *own,
                          mu_buf_t *all)
{
    int64_t head[2] = {status, root == workers->rank ? (int64_t)own->len : 0};
    MU_TRY(mu_comm_broadcast(workers, root, head, sizeof head));
    if (head[0] != MU_OK || head[1] == 0)
        return (mu_status_t)head[0];
    char *bytes = mu_calloc((size_t)head[1] + 1, 1);
    if (root == workers->rank)
        memcpy(bytes, own->data, own->len);
    mu_status_t sent = mu_comm_broadcast(workers, root, bytes, head[1]);
    if (sent == MU_OK)
        mu_buf_adds(all, bytes);
    free(bytes);
    return sent;
}

/* What the record lacks of this worker's products, measured, as lines. A worker that is not the first has another
 * device, which people may want to know. */
static void measure(mu_net_t *net, int rank, const char *record, mu_buf_t *lines)
{
    mu_device_t *dev = mu_net_device(net);
    mu_product_t list[MU_PRODUCTS];
    int lacking = mu_product_record_take(record, dev, list, mu_net_products(net, list));
    if (lacking == 0)
        return;
    int64_t began = mu_now_ns();
    mu_products_tune(dev, list, lacking, MU_TUNE_SECONDS);
    mu_product_record_add(lines, dev, list, lacking);
    mu_log(rank == 0 ? MU_LOG_INFO : MU_LOG_WARN, "%s: measured %d products of %s%s in %.1f s",
           MU_PRODUCT_RECORD, lacking, dev->description,
           rank == 0 ? "" : ", which is not what the first worker has,",
           (double)(mu_now_ns() - began) * 1e-9);
}

/* Each worker in turn: the first one with its device measures what the record lacks. */
static mu_status_t measure_in_turn(mu_comm_t *workers, mu_net_t *net, mu_buf_t *record)
{
    char own[sizeof mu_net_device(net)->description] = {0}, other[sizeof own];
    bool first = true;
    memcpy(own, mu_net_device(net)->description, sizeof own);
    for (int root = 0; root < workers->size; root++) {
        mu_buf_t lines = MU_BUF_INIT;
        memcpy(other, own, sizeof own);
        mu_status_t status = mu_comm_broadcast(workers, root, other, sizeof other);
        if (status == MU_OK && root == workers->rank && first)
            measure(net, root, record->data ? record->data : "", &lines);
        first = first && strcmp(own, other) != 0;
        if (status == MU_OK)
            status = spread(workers, root, MU_OK, &lines, record);
        mu_buf_release(&lines);
        MU_TRY(status);
    }
    return MU_OK;
}

static mu_status_t follow(mu_comm_t *workers, const char *path, mu_net_t *net, mu_buf_t *record)
{
    mu_buf_t kept = MU_BUF_INIT, none = MU_BUF_INIT;
    mu_product_t list[MU_PRODUCTS];
    mu_status_t status = MU_OK;
    if (workers->rank == 0 && mu_is_file(path))
        status = mu_file_read(path, LIMIT, &kept);
    status = spread(workers, 0, status, &kept, record);
    if (status == MU_OK)
        status = measure_in_turn(workers, net, record);
    if (status == MU_OK && workers->rank == 0 && record->len > kept.len)
        status = mu_file_replace(path, record->data, record->len, 0600);
    mu_buf_release(&kept);
    MU_TRY(spread(workers, 0, status, &none, record)); /* nobody computes before it is kept */
    mu_product_record_take(record->data ? record->data : "", mu_net_device(net), list,
                           mu_net_products(net, list));
    return MU_OK;
}

mu_status_t mu_product_record_follow(mu_comm_t *workers, const char *dir, mu_net_t *net)
{
    mu_buf_t record = MU_BUF_INIT;
    char *path = mu_path_join(dir, MU_PRODUCT_RECORD);
    mu_status_t status = follow(workers, path, net, &record);
    free(path);
    mu_buf_release(&record);
    return status;
}
