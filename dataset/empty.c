typedef int mu_dataset_empty_t;
