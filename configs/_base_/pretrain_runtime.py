"""Settings that all pretraining runs share."""

default_scope = 'densecl'
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds that a process waits for another; increase it if process 0 measures or writes for longer.
    dist_cfg=dict(backend='nccl', timeout=600),
)
default_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook', interval=10),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='PretrainCheckpointHook', interval=10, max_keep_ckpts=3),
    data_size=dict(type='DataSizeHook'),
    finite=dict(type='FiniteStepHook', action='skip'),
    spikes=dict(type='SpikeHook'),
    heartbeat=dict(type='HeartbeatHook'),
    momentum=dict(type='MomentumUpdateHook'),
    collapse=dict(type='CollapseHook', interval=50),
    sampler_seed=None,  # PretrainLoop sets the sampler's epoch and position
)
log_processor = dict(type='PretrainLogProcessor', window_size=50)
# Another logger instead of local json files:
# --cfg-options visualizer.vis_backends.0.type=TensorboardVisBackend (or WandbVisBackend, TrackioVisBackend)
visualizer = dict(type='mmengine.Visualizer', vis_backends=[dict(type='LocalVisBackend')])
model_wrapper_cfg = dict(type='MMDistributedDataParallel', broadcast_buffers=False)
