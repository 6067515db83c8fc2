typedef int mu_checkpoint_empty_t;
